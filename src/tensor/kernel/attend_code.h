// tensor/kernel/attend_code.h - attention of one token over the paged F16 cache, for every set.
//
// Scores are dots of keys and queries (float_code.h: a pair's result does not depend on its tile);
// softmax walks the positions from `begin` on; values are added position after position. A block of
// the cache is read once for all heads that share it: the second use finds it in the first-level
// cache.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/kernel/float_code.h"
#include "tensor/kernel/sets.h"
#include "tensor/kernel/vector_code.h"

namespace ration {
namespace {

template <class L, int kRows, int kHeads>
void score_tile(const AttendArguments& a, const std::byte* key, int64_t head, int64_t position) {
  using F = typename L::F;
  const std::byte* keys[kRows];
  const float* queries[kHeads];
  F sums[kRows][kHeads];
  for (int r = 0; r < kRows; ++r) keys[r] = key + r * a.head_size * 2;
  for (int h = 0; h < kHeads; ++h) queries[h] = a.query + (head + h) * a.head_size;
  for (auto& line : sums) {
    for (F& sum : line) sum = L::zero();
  }
  add_dots<L, ReadF16<L>, kRows, kHeads>(keys, queries, a.head_size, sums);
  for (int h = 0; h < kHeads; ++h) {
    float* scores = a.scores + (head + h) * (a.end - a.begin) + (position - a.begin);
    for (int r = 0; r < kRows; ++r) scores[r] = L::sum(sums[r][h]) * a.scale;
  }
}

template <class L, int kRows>
void score_keys(const AttendArguments& a, const std::byte* key, int64_t position) {
  constexpr int kHeads = L::kFloatTokens;
  int64_t head = 0;
  for (; head + kHeads <= a.heads; head += kHeads) {
    score_tile<L, kRows, kHeads>(a, key, head, position);
  }
  for (; head < a.heads; ++head) score_tile<L, kRows, 1>(a, key, head, position);
}

// Positions [first, last) of one block.
template <class L>
void score_block(const AttendArguments& a, int64_t first, int64_t last) {
  const std::byte* block = a.blocks[first / kKvBlockTokens] + a.key_offset;
  const auto key = [&](int64_t p) { return block + p % kKvBlockTokens * a.head_size * 2; };
  int64_t p = first;
  for (; p + L::kFloatRows <= last; p += L::kFloatRows) {
    score_keys<L, L::kFloatRows>(a, key(p), p);
  }
  for (; p < last; ++p) score_keys<L, 1>(a, key(p), p);
}

// scores -> e^(score - largest); returns 1 / their sum.
template <class L>
float soften(float* scores, int64_t n, float softcap) {
  using F = typename L::F;
  F largest = L::set(-__builtin_inff());
  if (softcap > 0) {
    const F cap = L::set(softcap), inverse = L::set(1 / softcap);
    map2<L>(scores, scores, n, scores,
            [=](F x, F) { return L::mul(cap, tanh<L>(L::mul(x, inverse))); });
  }
  int64_t i = 0;
  for (; i + L::kLanes <= n; i += L::kLanes) largest = L::max(largest, L::load(scores + i));
  float top = L::largest(largest);
  for (int64_t rest = i; rest < n; ++rest) top = scores[rest] > top ? scores[rest] : top;
  const F shift = L::set(top);
  map2<L>(scores, scores, n, scores, [=](F x, F) { return exp<L>(L::sub(x, shift)); });
  F total = L::zero();
  for (i = 0; i + L::kLanes <= n; i += L::kLanes) total = L::add(total, L::load(scores + i));
  if (i < n) total = L::add(total, L::load_some(scores + i, n - i));
  return 1 / L::sum(total);
}

// out[h][c ..] += score * value over positions [first, last) of a block, kHeads heads and
// kVectors * kLanes columns at a time.
template <class L, int kHeads, int kVectors>
void add_values(const AttendArguments& a, const std::byte* value, int64_t head, int64_t column,
                int64_t first, int64_t last) {
  using F = typename L::F;
  F sums[kHeads][kVectors];
  float* out[kHeads];
  const float* scores[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    out[h] = a.out + (head + h) * a.head_size + column;
    scores[h] = a.scores + (head + h) * (a.end - a.begin) - a.begin;
    for (int v = 0; v < kVectors; ++v) sums[h][v] = L::load(out[h] + v * L::kLanes);
  }
  for (int64_t p = first; p < last; ++p) {
    F numbers[kVectors];
    const std::byte* line = value + (p % kKvBlockTokens * a.head_size + column) * 2;
    for (int v = 0; v < kVectors; ++v) numbers[v] = L::load_f16(line + v * L::kLanes * 2);
    for (int h = 0; h < kHeads; ++h) {
      const F score = L::set(scores[h][p]);
      for (int v = 0; v < kVectors; ++v) sums[h][v] = L::fma(score, numbers[v], sums[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) L::store(out[h] + v * L::kLanes, sums[h][v]);
  }
}

// The columns after the last whole vector.
template <class L>
void add_last_values(const AttendArguments& a, const std::byte* value, int64_t head, int64_t column,
                     int64_t first, int64_t last) {
  const int64_t n = a.head_size - column;
  float* out = a.out + head * a.head_size + column;
  const float* scores = a.scores + head * (a.end - a.begin) - a.begin;
  typename L::F sums = L::load_some(out, n);
  for (int64_t p = first; p < last; ++p) {
    const std::byte* line = value + (p % kKvBlockTokens * a.head_size + column) * 2;
    sums = L::fma(L::set(scores[p]), read_some<L, ReadF16<L>>(line, n), sums);
  }
  L::store_some(out, n, sums);
}

template <class L, int kHeads>
void add_block(const AttendArguments& a, const std::byte* value, int64_t head, int64_t first,
               int64_t last) {
  int64_t column = 0;
  for (; column + 2 * L::kLanes <= a.head_size; column += 2 * L::kLanes) {
    add_values<L, kHeads, 2>(a, value, head, column, first, last);
  }
  for (; column + L::kLanes <= a.head_size; column += L::kLanes) {
    add_values<L, kHeads, 1>(a, value, head, column, first, last);
  }
  if (column == a.head_size) return;
  for (int h = 0; h < kHeads; ++h) add_last_values<L>(a, value, head + h, column, first, last);
}

template <class L>
void attend(const AttendArguments& a) {
  if (a.type != KvType::kF16) return reference::attend(a);
  // call(first, last) for the positions of each block
  const auto each_block = [&](auto call) {
    for (int64_t first = a.begin; first < a.end;) {
      const int64_t block_end = (first / kKvBlockTokens + 1) * kKvBlockTokens;
      const int64_t last = block_end < a.end ? block_end : a.end;
      call(first, last);
      first = last;
    }
  };
  each_block([&](int64_t first, int64_t last) { score_block<L>(a, first, last); });
  const int64_t positions = a.end - a.begin;
  for (int64_t h = 0; h < a.heads; ++h) {
    float* scores = a.scores + h * positions;
    const float inverse = soften<L>(scores, positions, a.softcap);
    const typename L::F factor = L::set(inverse);
    map2<L>(scores, scores, positions, scores,
            [=](typename L::F x, typename L::F) { return L::mul(x, factor); });
  }
  for (int64_t i = 0; i < a.heads * a.head_size; ++i) a.out[i] = 0;
  each_block([&](int64_t first, int64_t last) {
    const std::byte* value = a.blocks[first / kKvBlockTokens] + a.value_offset;
    int64_t head = 0;
    for (; head + 4 <= a.heads; head += 4) add_block<L, 4>(a, value, head, first, last);
    for (; head + 2 <= a.heads; head += 2) add_block<L, 2>(a, value, head, first, last);
    for (; head < a.heads; ++head) add_block<L, 1>(a, value, head, first, last);
  });
}

}  // namespace
}  // namespace ration
