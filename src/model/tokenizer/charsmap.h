// model/tokenizer/charsmap.h - SentencePiece's precompiled normaliser: which byte sequences become
// which others.
//
// The file's table is untrusted: every step through it is bounds-checked, and a step that leaves it
// ends the match.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ration {

// shared-const.
class Charsmap {
 public:
  // An empty map, which replaces nothing.
  Charsmap() = default;
  // table: u32 length of the trie in bytes, little-endian; the trie, a double array of u32; the
  // replacements, each ended by a zero byte. kCorrupt when the lengths contradict each other.
  static Result<Charsmap> make(std::span<const std::byte> table);

  // The longest sequence that `text` begins with and what it becomes. length 0: none.
  struct Match {
    size_t length = 0;
    std::string_view replacement;
  };
  Match longest(std::string_view text) const;

  size_t bytes() const { return trie_.capacity() * sizeof(uint32_t) + replacements_.capacity(); }

 private:
  std::vector<uint32_t> trie_;
  std::string replacements_;  // ends with a zero byte unless empty
};

}  // namespace ration
