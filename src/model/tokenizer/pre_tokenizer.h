// model/tokenizer/pre_tokenizer.h - which stages and habits each tokenizer.ggml.pre name stands
// for.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "model/tokenizer/split.h"

namespace ration {

enum PreTrait : uint8_t {
  kWholeWordsFirst = 1,  // a word that is a token is that token, whatever the merges say
  kAddsBos = 2,          // unless the file says otherwise
  kAlwaysAddsBos = 4,    // whatever the file says
  kEscapesSpaces = 8,    // spaces become U+2581 before anything else
  kRawBytes = 16,        // tokens are spelt as they are, not in GPT-2's byte alphabet
  kWholeNewlines = 32,   // a run of newlines that is a token is that token
  kNoDefaultBos = 64,
};

struct PreTokenizer {
  std::string_view name;
  std::span<const Stage> stages;
  uint8_t traits = 0;

  bool is(PreTrait trait) const { return (traits & trait) != 0; }
};

// Every name, for help and tests.
std::span<const PreTokenizer> pre_tokenizers();
// nullptr when the name is unknown. "" is "default".
const PreTokenizer* find_pre_tokenizer(std::string_view name);

}  // namespace ration
