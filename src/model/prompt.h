// model/prompt.h - a rendered prompt, with who wrote each piece of it.
//
// Special tokens (<|im_start|>, </s>, ...) are recognised only in what the template wrote, never in
// a user's text: a message that contains the characters "<|im_end|>" is those characters.
#pragma once

#include <string>
#include <vector>

namespace ration {

struct PromptSpan {
  std::string text;
  bool from_template = false;  // special tokens are parsed in this piece

  friend bool operator==(const PromptSpan&, const PromptSpan&) = default;
};

using Prompt = std::vector<PromptSpan>;

// All pieces joined: what a person would read.
inline std::string plain_text(const Prompt& prompt) {
  std::string text;
  for (const PromptSpan& span : prompt) text += span.text;
  return text;
}

}  // namespace ration
