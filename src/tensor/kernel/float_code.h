// tensor/kernel/float_code.h - dot products with F32 activations, for every set: weights in F32,
// F16 and BF16, cached keys, and the types a set has no integer path for, which are decoded first.
//
// Each (row, token) pair has one accumulator of kLanes partial sums that walks a range of
// kFloatColumns columns in order, whatever tile the pair is in, one way of adding its lanes, and
// one order of adding the ranges: the rule of roles.
//
// Of many tokens a block's range is copied into a panel that stays in the nearest cache while the
// rows go by, whose range stays in the second: Goto and van de Geijn 2008, "Anatomy of
// High-Performance Matrix Multiplication", sec. 4.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/kernel/job.h"

namespace ration {
namespace {

// How kLanes weights are read from memory.
template <class L>
struct ReadF32 {
  static constexpr int64_t kBytes = 4;
  static typename L::F at(const std::byte* p) { return L::load(reinterpret_cast<const float*>(p)); }
};
template <class L>
struct ReadF16 {
  static constexpr int64_t kBytes = 2;
  static typename L::F at(const std::byte* p) { return L::load_f16(p); }
};
template <class L>
struct ReadBF16 {
  static constexpr int64_t kBytes = 2;
  static typename L::F at(const std::byte* p) { return L::load_bf16(p); }
};
template <class L>
struct ReadI8 {
  static constexpr int64_t kBytes = 1;
  static typename L::F at(const std::byte* p) { return L::load_i8(p); }
};

// The last n (< kLanes) weights of a row, zeros after them.
template <class L, class Read>
typename L::F read_some(const std::byte* p, int64_t n) {
  std::byte padded[L::kLanes * 4] = {};
  std::memcpy(padded, p, static_cast<size_t>(n * Read::kBytes));
  return Read::at(padded);
}

// Of four accumulators, each the bits of L::sum().
template <class L>
__m128 sum_each(const typename L::F* sums) {
  const __m128 a = L::four_sums(sums[0]), b = L::four_sums(sums[1]);
  const __m128 c = L::four_sums(sums[2]), d = L::four_sums(sums[3]);
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
  const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
  return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}

// Columns whose products are added up before they join the others'.
constexpr int64_t kFloatColumns = 384;

// sums[r][t] = w[r] . x[t] over `cols` columns. Of x, kLanes numbers lie every `step` numbers.
template <class L, class Read, int kRows, int kTokens>
void find_dots(const std::byte* const* w, const float* const* x, int64_t step, int64_t cols,
               typename L::F (&sums)[kTokens][kRows]) {
  using F = typename L::F;
  for (auto& line : sums) {
    for (F& sum : line) sum = L::zero();
  }
  int64_t c = 0, at = 0;
  for (; c + L::kLanes <= cols; c += L::kLanes, at += step) {
    F numbers[kTokens];
    for (int t = 0; t < kTokens; ++t) numbers[t] = L::load(x[t] + at);
    for (int r = 0; r < kRows; ++r) {
      const F weights = Read::at(w[r] + c * Read::kBytes);
      for (int t = 0; t < kTokens; ++t) sums[t][r] = L::fma(weights, numbers[t], sums[t][r]);
    }
  }
  if (c == cols) return;
  for (int r = 0; r < kRows; ++r) {
    const F weights = read_some<L, Read>(w[r] + c * Read::kBytes, cols - c);
    for (int t = 0; t < kTokens; ++t) {
      sums[t][r] = L::fma(weights, L::load_some(x[t] + at, cols - c), sums[t][r]);
    }
  }
}

// A matmul of F32 activations, split into tiles.
template <class L, class Read>
struct FloatProduct {
  using F = typename L::F;
  static constexpr int kRows = L::kFloatRows;
  static constexpr int kTokens = L::kFloatTokens;
  static constexpr int64_t kTiles = L::kFloatTiles;  // of tokens in a block
  static constexpr int64_t kStep = kTokens * L::kLanes;
  static constexpr int64_t kTileNumbers = kTokens * kFloatColumns;
  static_assert(kRows == 4 && kFloatColumns % L::kLanes == 0);

  const Job& job;

  const float* numbers(int64_t token) const {
    return reinterpret_cast<const float*>(job.x + token * job.x_bytes);
  }
  int64_t columns_from(int64_t begin) const {
    return begin + kFloatColumns < job.cols ? kFloatColumns : job.cols - begin;
  }

  // Columns from `begin` on of kRows rows and of kTile tokens, which are at x.
  template <int kTile>
  void tile(int64_t row, int64_t begin, int64_t token, const float* const* x, int64_t step) const {
    const std::byte* rows[kRows];
    F sums[kTile][kRows];
    for (int r = 0; r < kRows; ++r) {  // beyond the last row, that one again
      const int64_t which = row + r < job.row_end ? row + r : job.row_end - 1;
      rows[r] = reinterpret_cast<const std::byte*>(job.weights + which * job.row_bytes) +
                begin * Read::kBytes;
    }
    find_dots<L, Read, kRows, kTile>(rows, x, step, columns_from(begin), sums);
    for (int t = 0; t < kTile; ++t) {
      float* out = job.out + (token + t) * job.out_stride + row;
      __m128 four = sum_each<L>(sums[t]);
      if (row + kRows <= job.row_end) {
        if (begin > 0) four = _mm_add_ps(_mm_loadu_ps(out), four);
        _mm_storeu_ps(out, four);
        continue;
      }
      float numbers[kRows];
      _mm_storeu_ps(numbers, four);
      for (int64_t r = 0; row + r < job.row_end; ++r) {
        out[r] = begin > 0 ? out[r] + numbers[r] : numbers[r];
      }
    }
  }

  // kTile tokens read as they lie, all columns.
  template <int kTile>
  void direct(int64_t row, int64_t token) const {
    for (int64_t begin = 0; begin < job.cols; begin += kFloatColumns) {
      const float* x[kTile];
      for (int t = 0; t < kTile; ++t) x[t] = numbers(token + t) + begin;
      tile<kTile>(row, begin, token, x, L::kLanes);
    }
  }

  // Columns from `begin` on of a tile of tokens: step by step, of each step token by token.
  void copy_tile(int64_t begin, int64_t token, int64_t tokens, float* out) const {
    const int64_t cols = columns_from(begin);
    for (int64_t t = 0; t < tokens; ++t) {
      const float* x = numbers(token + t) + begin;
      float* to = out + t * L::kLanes;
      int64_t c = 0;
      for (; c + L::kLanes <= cols; c += L::kLanes, to += kStep) L::store(to, L::load(x + c));
      if (c < cols) L::store(to, L::load_some(x + c, cols - c));
    }
  }

  template <int kTile = kTokens>
  void copied_tile(int64_t row, int64_t begin, int64_t token, int64_t tokens,
                   const float* copy) const {
    if (tokens == kTile) {
      const float* x[kTile];
      for (int t = 0; t < kTile; ++t) x[t] = copy + t * L::kLanes;
      tile<kTile>(row, begin, token, x, kStep);
    } else if constexpr (kTile > 1) {
      copied_tile<kTile - 1>(row, begin, token, tokens, copy);
    }
  }

  // Columns from `begin` on of all rows and of tokens [first, last), a block at most.
  void multiply_block(int64_t begin, int64_t first, int64_t last) const {
    alignas(64) float panel[kTiles * kTileNumbers];
    const auto tokens_at = [&](int64_t token) {
      return token + kTokens < last ? kTokens : last - token;
    };
    float* copy = panel;
    for (int64_t t = first; t < last; t += kTokens, copy += kTileNumbers) {
      copy_tile(begin, t, tokens_at(t), copy);
    }
    for (int64_t row = job.row_begin; row < job.row_end; row += kRows) {
      copy = panel;
      for (int64_t t = first; t < last; t += kTokens, copy += kTileNumbers) {
        copied_tile(row, begin, t, tokens_at(t), copy);
      }
    }
  }
};

template <class L, class Read>
void multiply_floats(const Job& job) {
  const FloatProduct<L, Read> product{job};
  if (job.tokens > 2 * L::kFloatTokens) {
    constexpr int64_t kBlock = L::kFloatTokens * L::kFloatTiles;
    for (int64_t begin = 0; begin < job.cols; begin += kFloatColumns) {
      for (int64_t token = 0; token < job.tokens; token += kBlock) {
        const int64_t last = token + kBlock;
        product.multiply_block(begin, token, last < job.tokens ? last : job.tokens);
      }
    }
    return;
  }
  for (int64_t row = job.row_begin; row < job.row_end; row += L::kFloatRows) {
    int64_t token = 0;
    for (; token + L::kFloatTokens <= job.tokens; token += L::kFloatTokens) {
      product.template direct<L::kFloatTokens>(row, token);
    }
    for (; token < job.tokens; ++token) product.template direct<1>(row, token);
  }
}

}  // namespace
}  // namespace ration
