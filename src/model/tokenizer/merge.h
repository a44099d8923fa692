// model/tokenizer/merge.h - the greedy merging that BPE and SPM share: of all neighbouring pairs
// that may merge, the best one (the leftmost of equals) does, again and again.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "model/tokenizer/text_table.h"

namespace ration {

// A piece of text while it grows. id: kNoId where nothing is known by that text.
struct Symbol {
  uint32_t id;
  uint32_t begin;  // byte offset; it ends where the next begins
};

// What a pair becomes. Less `order` merges first; kNoId: never.
struct Merge {
  uint32_t order = kNoId;
  uint32_t result = kNoId;
};

// Buffers that are kept between words. single-thread.
struct MergeScratch {
  struct Link {
    uint32_t previous;
    uint32_t next;
  };
  struct Item {
    uint32_t order;
    uint32_t left;  // index of the pair's first symbol
    uint32_t left_id;
    uint32_t right_id;
    uint32_t result;
  };
  std::vector<Symbol> symbols;
  std::vector<Link> links;
  std::vector<Item> heap;
};

namespace internal {

// Few symbols: scanning the pairs for the best one beats any queue.
inline constexpr size_t kScanMax = 32;

template <class Lookup>
void merge_few(std::vector<Symbol>& symbols, uint32_t end, const Lookup& lookup) {
  size_t count = symbols.size();
  std::array<Merge, kScanMax> pairs;  // pairs[i]: of symbols i and i + 1
  const auto look = [&](size_t i) {
    pairs[i] = lookup(symbols[i], symbols[i + 1], i + 2 < count ? symbols[i + 2].begin : end);
  };
  for (size_t i = 0; i + 1 < count; ++i) look(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].order < pairs[best].order) best = i;
    }
    if (pairs[best].order == kNoId) break;
    symbols[best].id = pairs[best].result;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      pairs[i - 1] = pairs[i];
    }
    --count;
    if (best > 0) look(best - 1);
    if (best + 1 < count) look(best);
  }
  symbols.resize(count);
}

template <class Lookup>
void merge_many(MergeScratch& scratch, uint32_t end, const Lookup& lookup) {
  constexpr uint32_t kEnd = ~0u;
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<MergeScratch::Link>& links = scratch.links;
  std::vector<MergeScratch::Item>& heap = scratch.heap;
  const auto worse = [](const MergeScratch::Item& a, const MergeScratch::Item& b) {
    return a.order != b.order ? a.order > b.order : a.left > b.left;
  };
  const auto count = static_cast<uint32_t>(symbols.size());
  links.resize(count);
  for (uint32_t i = 0; i < count; ++i) links[i] = {i - 1, i + 1};  // -1 of 0 is kEnd
  links[count - 1].next = kEnd;
  const auto list_pair = [&](uint32_t left) {
    const uint32_t right = links[left].next;
    if (left == kEnd || right == kEnd) return false;
    const uint32_t after = links[right].next;
    const Merge merge =
        lookup(symbols[left], symbols[right], after == kEnd ? end : symbols[after].begin);
    if (merge.order == kNoId) return false;
    heap.push_back({merge.order, left, symbols[left].id, symbols[right].id, merge.result});
    return true;
  };
  heap.clear();
  for (uint32_t i = 0; i + 1 < count; ++i) list_pair(i);
  std::make_heap(heap.begin(), heap.end(), worse);
  // A symbol that was merged into its left neighbour: no id that a pair could have been listed
  // with.
  constexpr uint32_t kGone = kNoId - 1;
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), worse);
    const MergeScratch::Item item = heap.back();
    heap.pop_back();
    const uint32_t left = item.left;
    const uint32_t right = links[left].next;
    if (symbols[left].id != item.left_id || right == kEnd) continue;
    if (symbols[right].id != item.right_id) continue;  // it has grown since
    symbols[left].id = item.result;
    symbols[right].id = kGone;
    links[left].next = links[right].next;
    if (links[right].next != kEnd) links[links[right].next].previous = left;
    const uint32_t before = links[left].previous;
    if (before != kEnd && list_pair(before)) std::push_heap(heap.begin(), heap.end(), worse);
    if (list_pair(left)) std::push_heap(heap.begin(), heap.end(), worse);
  }
  std::erase_if(symbols, [](const Symbol& symbol) { return symbol.id == kGone; });
}

}  // namespace internal

// Merges scratch.symbols until no pair may merge. end: where the last symbol ends.
// lookup(left, right, right_end) -> Merge. A symbol's id must change whenever it grows.
// O(symbols * log symbols) time, 28 bytes a symbol.
template <class Lookup>
void merge_symbols(MergeScratch& scratch, uint32_t end, const Lookup& lookup) {
  if (scratch.symbols.size() < 2) return;
  if (scratch.symbols.size() <= internal::kScanMax) {
    internal::merge_few(scratch.symbols, end, lookup);
  } else {
    internal::merge_many(scratch, end, lookup);
  }
}

// Which characters ever stand beside each other inside a token: between any others a long text can
// be cut before merging, with the same result. No false negatives, some false positives.
// shared-const after the last add().
class Neighbours {
 public:
  // Sized for the texts of `count` tokens.
  void reset(size_t count) {
    size_t bits = 1024;
    while (bits < count * 4) bits *= 2;
    bits_.assign(bits / 64, 0);
  }
  // Every pair inside `text`.
  void add(std::string_view text);
  bool may_meet(uint32_t left, uint32_t right) const {
    const size_t bit = place(left, right);
    return ((bits_[bit / 64] >> (bit % 64)) & 1) != 0;
  }
  // A character as a number: its bytes, which may be broken UTF-8.
  static uint32_t key(std::string_view character) {
    uint32_t value = 0;
    for (const char c : character) value = (value << 8) | static_cast<unsigned char>(c);
    return value;
  }
  size_t bytes() const { return bits_.capacity() * sizeof(uint64_t); }

 private:
  size_t place(uint32_t left, uint32_t right) const {
    return static_cast<size_t>(mix_hash((uint64_t{left} << 32) | right)) & (bits_.size() * 64 - 1);
  }
  std::vector<uint64_t> bits_;
};

}  // namespace ration
