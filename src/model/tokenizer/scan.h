// model/tokenizer/scan.h - the word matchers of split.h. Private to that library.
//
// Each takes canonical text and an offset inside it, and returns where the match that begins there
// ends, or the offset itself when nothing matches.
#pragma once

#include <cstddef>
#include <string_view>

#include "model/tokenizer/characters.h"
#include "model/tokenizer/split.h"

namespace ration {

// Behind the characters from `at` on that have any of `flags`.
inline size_t skip(std::string_view text, size_t at, uint16_t flags) {
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (!c.is(flags)) break;
    at += c.bytes;
  }
  return at;
}

// blank_until: in and out, an offset before which white space at `at` has no newline; 0 at first.
// It keeps a long run that is cut into many pieces from being searched for each.
size_t match_word(std::string_view text, size_t at, const WordRule& rule, size_t& blank_until);
size_t match_gpt2(std::string_view text, size_t at);
size_t match_kimi(std::string_view text, size_t at);

}  // namespace ration
