// Prompt lookup: drafts are copied from the prompt and the answer so far.
//
// Source    Saxena 2023, "Prompt Lookup Decoding"; the index is that of Deutsch 1996, "DEFLATE
//           Compressed Data Format" (RFC 1951), sec. 4: chains of hashed pairs.
// Computes  the earlier position whose tokens agree with the last ones for longest, the newest of
//           equals; what followed there, and where that runs into the end, itself once more
// Departs   any length from 2 to 32 instead of a fixed n-gram; of very common pairs only the newest
//           128, and only the last 16,384 tokens, so that time and memory are bounded
// Costs     O(1) a token to index, up to 128 looks a guess; 8 bytes a token
// Proved    test/run/speculate_test.cpp
#include "run/speculate_lookup.h"

#include <algorithm>
#include <bit>

namespace ration {
namespace {

constexpr int64_t kWindowMax = 16384;
constexpr int kLooksMax = 128;

int64_t window_of(int64_t tokens) {
  const auto size = static_cast<uint64_t>(std::clamp<int64_t>(tokens, 64, kWindowMax));
  return static_cast<int64_t>(std::bit_ceil(size));
}

// Of the pair that ends at `last`, below `size`, a power of two.
size_t hash_of_pair(std::span<const Token> tokens, int64_t last, size_t size) {
  const auto at = static_cast<size_t>(last);
  const uint64_t pair =
      uint64_t{static_cast<uint32_t>(tokens[at - 1])} << 32 | static_cast<uint32_t>(tokens[at]);
  return (pair * 0x9e3779b97f4a7c15u) >> 40 & (size - 1);
}

// How many tokens up to and with `a` are those up to and with `b`. REQUIRES: a < b.
int64_t match_length(std::span<const Token> tokens, int64_t a, int64_t b) {
  const int64_t most = std::min(a + 1, PromptLookup::kMatchMax);
  int64_t length = 0;
  while (length < most &&
         tokens[static_cast<size_t>(a - length)] == tokens[static_cast<size_t>(b - length)]) {
    ++length;
  }
  return length;
}

}  // namespace

Bytes PromptLookup::bytes(int64_t tokens) {
  return Bytes{2 * window_of(tokens) * static_cast<int64_t>(sizeof(int32_t))};
}

Result<std::unique_ptr<PromptLookup>> PromptLookup::make(int64_t tokens, Budget& budget) {
  Result<Charge> charge = budget.reserve(Tag::kScratch, bytes(tokens));
  if (!charge) return charge.error();
  std::unique_ptr<PromptLookup> lookup(new PromptLookup(window_of(tokens)));
  lookup->charge_ = std::move(*charge);
  return lookup;
}

int64_t PromptLookup::propose(std::span<const Token> tokens, int64_t count_max,
                              std::vector<Token>& draft) {
  const int64_t last = static_cast<int64_t>(tokens.size()) - 1;
  const auto window = static_cast<int64_t>(older_.size());
  const auto slot_of = [&](int64_t position) {
    return static_cast<size_t>(position & (window - 1));
  };
  CHECK(last + 1 >= indexed_ || last < 1);
  for (; indexed_ < last; ++indexed_) {
    int32_t& newest = newest_[hash_of_pair(tokens, indexed_, newest_.size())];
    older_[slot_of(indexed_)] = newest;
    newest = static_cast<int32_t>(indexed_);
  }
  if (last < 2 || count_max < 1) return 0;
  int64_t source = -1;
  int64_t matched = 1;  // less than a pair is no match
  int64_t at = newest_[hash_of_pair(tokens, last, newest_.size())];
  for (int looks = 0; at > last - window && at >= 1 && looks < kLooksMax; ++looks) {
    const int64_t length = match_length(tokens, at, last);
    if (length > matched) {
      matched = length;
      source = at;
    }
    if (matched == kMatchMax) break;
    at = older_[slot_of(at)];
  }
  if (source < 0) return 0;
  const size_t begin = draft.size();
  for (int64_t i = 1; i <= count_max; ++i) {
    const int64_t from = source + i;
    const Token guess = from <= last ? tokens[static_cast<size_t>(from)]
                                     : draft[begin + static_cast<size_t>(from - last - 1)];
    draft.push_back(guess);
  }
  return matched;
}

}  // namespace ration
