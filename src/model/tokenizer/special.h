// model/tokenizer/special.h - finds the tokens that are recognised in a text before everything
// else:
// user-defined ones anywhere, control tokens only where asked.
//
// The longest token wins wherever it stands, then the next longest in what is left, and so on;
// equal lengths by id; one token's own occurrences from left to right.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/tokenizer/vocabulary.h"

namespace ration {

// A token, or a stretch of ordinary text (token == kNoToken). Byte offsets.
struct Fragment {
  Token token = kNoToken;
  uint32_t begin = 0;
  uint32_t end = 0;
};

// shared-const. Borrows the vocabulary.
class SpecialMatcher {
 public:
  explicit SpecialMatcher(const Vocabulary& vocabulary);

  // Appends the fragments of text[begin, end) in order; what a token strips appears nowhere.
  // REQUIRES: text shorter than 4 GiB.
  void split(std::string_view text, uint32_t begin, uint32_t end, bool parse_special,
             std::vector<Fragment>& out) const;

  size_t bytes() const {
    return sizeof(*this) + by_text_.capacity() * sizeof(Entry) +
           by_rank_.capacity() * sizeof(Token);
  }

 private:
  struct Entry {
    Token token;
    uint32_t rank;  // 0 is looked for first
  };
  class Splitter;

  bool may_start(std::string_view text, size_t at) const {
    const auto first = static_cast<unsigned char>(text[at]);
    const unsigned second = at + 1 < text.size() ? static_cast<unsigned char>(text[at + 1]) : 0;
    const unsigned pair = first * 256u + second;
    return (starts_[pair / 64] >> (pair % 64)) & 1;
  }
  bool always_parsed(Token token) const {
    return !vocabulary_.is_reserved(token) && vocabulary_.is(token, kTokenUserDefined);
  }

  const Vocabulary& vocabulary_;
  std::vector<Entry> by_text_;
  std::vector<Token> by_rank_;
  std::array<uint64_t, 1024> starts_{};  // one bit for each pair of first bytes
  bool strips_ = false;
};

}  // namespace ration
