// tensor/kernel/attend_code.h - attention of query rows over the paged cache, for every set.
//
// Source    Dao et al. 2022, "FlashAttention: Fast and Memory-Efficient Exact Attention with
//           IO-Awareness", algorithm 1 (a running maximum and sum a row, block after block).
// Computes  per row and block of 32 positions: s = scale q.k; m' = max(m, max s);
//           p = e^(s - m'); l = e^(m - m') l + sum p; o = e^(m - m') o + p v; m = m'
// Departs   o and l are rescaled only when m rises (the factor is 1 otherwise).
// Costs     a cached number is converted once for up to kAttendRows rows and read from memory once
//           for all; no more scratch than the scores of one block.
// Int8      a key's scale is a factor of its score, a value's of its weight: both products stay
//           what they are.
// Proved    test/tensor/attend_test.cpp
//
// Both products are one routine: a block's keys lie [head_size][32] and its values [32][columns],
// so q.k and p.v each add a row's number times a line of the block. An element of either result has
// one accumulator that walks the depth in order whatever tile it is in: the rule of roles.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tensor/kernel/float_code.h"
#include "tensor/kernel/sets.h"
#include "tensor/kernel/vector_code.h"

namespace ration {
namespace {

// Rows whose scores of one block are held at a time.
constexpr int64_t kAttendChunk = 64;

// out[r][c] (+)= sum over k < depth of x[r][k] * lines[k][c].
struct AttendProduct {
  const float* const* x;  // [rows]
  const std::byte* lines;
  int64_t line_bytes;
  int64_t depth;
  int64_t columns;
  float* out;
  int64_t out_stride;
  bool adds;
  const std::byte* ahead;  // prefetched while the lines are read: as many bytes
};

// kRows rows from `row`, kVectors * kLanes columns from `column`.
template <class L, class Read, int kRows, int kVectors>
void attend_tile(const AttendProduct& p, int64_t row, int64_t column, const std::byte* ahead) {
  using F = typename L::F;
  constexpr int64_t kBytes = kVectors * L::kLanes * Read::kBytes;
  const float* x[kRows];
  F sums[kRows][kVectors];
  float* out = p.out + row * p.out_stride + column;
  for (int r = 0; r < kRows; ++r) {
    x[r] = p.x[row + r];
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = p.adds ? L::load(out + r * p.out_stride + v * L::kLanes) : L::zero();
    }
  }
  const std::byte* line = p.lines + column * Read::kBytes;
  for (int64_t k = 0; k < p.depth; ++k) {
    F numbers[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      numbers[v] = Read::at(line + v * L::kLanes * Read::kBytes);
    }
    _mm_prefetch(reinterpret_cast<const char*>(ahead + k * kBytes), _MM_HINT_T0);
    for (int r = 0; r < kRows; ++r) {
      const F factor = L::set(x[r][k]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = L::fma(factor, numbers[v], sums[r][v]);
    }
    line += p.line_bytes;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      L::store(out + r * p.out_stride + v * L::kLanes, sums[r][v]);
    }
  }
}

// kRows rows, all columns: a multiple of 16. Few rows take wide tiles, which hide the latency of
// their sums.
template <class L, class Read, int kRows>
void attend_columns(const AttendProduct& p, int64_t row) {
  constexpr int kWide = kRows * 4 <= L::kAttendRows * 2 ? 4 : 2;
  const std::byte* ahead = row == 0 ? p.ahead : p.lines;
  int64_t column = 0;
  const auto ahead_of = [&] { return ahead + column * p.depth * Read::kBytes; };
  for (; column + kWide * L::kLanes <= p.columns; column += kWide * L::kLanes) {
    attend_tile<L, Read, kRows, kWide>(p, row, column, ahead_of());
  }
  for (; column + 2 * L::kLanes <= p.columns; column += 2 * L::kLanes) {
    attend_tile<L, Read, kRows, 2>(p, row, column, ahead_of());
  }
  for (; column < p.columns; column += L::kLanes) {
    attend_tile<L, Read, kRows, 1>(p, row, column, ahead_of());
  }
}

template <class L, class Read, int kRows = L::kAttendRows>
void attend_tile_of(const AttendProduct& p, int64_t row, int64_t rows) {
  if (rows == kRows) {
    attend_columns<L, Read, kRows>(p, row);
  } else if constexpr (kRows > 1) {
    attend_tile_of<L, Read, kRows - 1>(p, row, rows);
  }
}

// Rows in tiles of nearly the same size.
template <class L, class Read>
void attend_multiply(const AttendProduct& p, int64_t rows) {
  const int64_t tiles = (rows + L::kAttendRows - 1) / L::kAttendRows;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t row = rows * i / tiles;
    attend_tile_of<L, Read>(p, row, rows * (i + 1) / tiles - row);
  }
}

// Products q.k of positions [first, last) of a block -> weights, in place (zero elsewhere), with
// the row's running maximum, sum and output brought up to date.
template <class L>
void soften_block(const AttendArguments& a, int64_t row, int64_t first, int64_t last,
                  float* scores) {
  using F = typename L::F;
  constexpr int kVectors = kKvBlockTokens / L::kLanes;
  F s[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    s[v] = L::mul(L::load(scores + v * L::kLanes), L::set(a.scale));
    if (a.softcap > 0) {
      s[v] = L::mul(L::set(a.softcap), tanh<L>(L::mul(s[v], L::set(1 / a.softcap))));
    }
  }
  if (last - first < kKvBlockTokens) {
    for (int v = 0; v < kVectors; ++v) L::store(scores + v * L::kLanes, s[v]);
    for (int64_t p = 0; p < first; ++p) scores[p] = -__builtin_inff();
    for (int64_t p = last; p < kKvBlockTokens; ++p) scores[p] = -__builtin_inff();
    for (int v = 0; v < kVectors; ++v) s[v] = L::load(scores + v * L::kLanes);
  }
  F largest = s[0];
  for (int v = 1; v < kVectors; ++v) largest = L::max(largest, s[v]);
  const float top = L::largest(largest);
  if (top > a.largest[row]) {
    const F factor = exp<L>(L::set(a.largest[row] - top));
    float* out = a.out + row * attend_columns_of(a.head_size);
    for (int64_t c = 0; c < attend_columns_of(a.head_size); c += L::kLanes) {
      L::store(out + c, L::mul(L::load(out + c), factor));
    }
    a.total[row] *= L::largest(factor);
    a.largest[row] = top;
  }
  const F shift = L::set(a.largest[row]);
  F total = L::zero();
  for (int v = 0; v < kVectors; ++v) {
    s[v] = exp<L>(L::sub(s[v], shift));
    total = L::add(total, s[v]);
    L::store(scores + v * L::kLanes, s[v]);
  }
  a.total[row] += L::sum(total);
}

// x[r][p] *= scales[p]
template <class L>
void attend_scale(const std::byte* scales, int64_t rows, float (*x)[kKvBlockTokens]) {
  for (int64_t p = 0; p < kKvBlockTokens; p += L::kLanes) {
    const typename L::F scale = L::load_f16(scales + p * 2);
    for (int64_t r = 0; r < rows; ++r) L::store(x[r] + p, L::mul(L::load(x[r] + p), scale));
  }
}

// One block for rows [row, row + rows), which all see positions [first, last) of it. queries and
// scores: of those rows.
template <class L, class Read>
void attend_block(const AttendArguments& a, int64_t block, int64_t first, int64_t last, int64_t row,
                  int64_t rows, const float* const* queries, float (*scores)[kKvBlockTokens]) {
  constexpr bool kScaled = std::is_same_v<Read, ReadI8<L>>;
  const int64_t columns = attend_columns_of(a.head_size);
  const std::byte* here = a.blocks[block];
  const bool more = (block + 1) * kKvBlockTokens < a.end;
  const std::byte* next = more ? a.blocks[block + 1] : here;
  const float* weights[kAttendChunk];
  for (int64_t r = 0; r < rows; ++r) weights[r] = scores[r] + first;
  attend_multiply<L, Read>({.x = queries,
                            .lines = here + a.key_offset,
                            .line_bytes = kKvBlockTokens * Read::kBytes,
                            .depth = a.head_size,
                            .columns = kKvBlockTokens,
                            .out = scores[0],
                            .out_stride = kKvBlockTokens,
                            .adds = false,
                            .ahead = next + a.key_offset},
                           rows);
  if constexpr (kScaled) {
    attend_scale<L>(here + a.key_offset + a.head_size * kKvBlockTokens, rows, scores);
  }
  for (int64_t r = 0; r < rows; ++r) soften_block<L>(a, row + r, first, last, scores[r]);
  if constexpr (kScaled) {
    attend_scale<L>(here + a.value_offset + columns * kKvBlockTokens, rows, scores);
  }
  attend_multiply<L, Read>({.x = weights,
                            .lines = here + a.value_offset + first * columns * Read::kBytes,
                            .line_bytes = columns * Read::kBytes,
                            .depth = last - first,
                            .columns = columns,
                            .out = a.out + row * columns,
                            .out_stride = columns,
                            .adds = true,
                            .ahead = next + a.value_offset},
                           rows);
}

// Rows [begin, end) of the call, kAttendChunk at most.
template <class L, class Read>
void attend_rows(const AttendArguments& a, int64_t begin, int64_t end) {
  alignas(64) float scores[kAttendChunk][kKvBlockTokens];
  const float* queries[kAttendChunk];
  const int64_t columns = attend_columns_of(a.head_size);
  for (int64_t row = begin; row < end; ++row) {
    queries[row - begin] = a.query + row / a.heads * a.query_stride + row % a.heads * a.head_size;
    a.largest[row] = -__builtin_inff();
    a.total[row] = 0;
    for (int64_t c = 0; c < columns; ++c) a.out[row * columns + c] = 0;
  }
  for (int64_t block = a.begin / kKvBlockTokens; block * kKvBlockTokens < a.end; ++block) {
    for (int64_t row = begin; row < end;) {
      const AttendRange seen = attend_range(a, row / a.heads, block);
      int64_t next = row + 1;
      while (next < end && attend_range(a, next / a.heads, block) == seen) ++next;
      if (seen.first < seen.last) {
        attend_block<L, Read>(a, block, seen.first, seen.last, row, next - row,
                              queries + (row - begin), scores);
      }
      row = next;
    }
  }
}

template <class L>
void attend(const AttendArguments& a) {
  if (a.type == KvType::kF32) return reference::attend(a);
  const int64_t rows = a.tokens * a.heads;
  for (int64_t row = 0; row < rows; row += kAttendChunk) {
    const int64_t end = row + kAttendChunk < rows ? row + kAttendChunk : rows;
    if (a.type == KvType::kInt8) {
      attend_rows<L, ReadI8<L>>(a, row, end);
    } else {
      attend_rows<L, ReadF16<L>>(a, row, end);
    }
  }
}

}  // namespace
}  // namespace ration
