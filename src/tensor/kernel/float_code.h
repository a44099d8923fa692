// tensor/kernel/float_code.h - dot products with F32 activations, for every set: weights in F32,
// F16 and BF16, cached keys, and the types a set has no integer path for, which are decoded first.
//
// Each (row, vector) pair has one accumulator of kLanes partial sums that walks the columns in
// order, whatever tile the pair is in, and one way of adding the lanes at the end: the rule of
// roles.
#pragma once

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

// sums[r][t] += w[r] . x[t] over `cols` columns
template <class L, class Read, int kRows, int kTokens>
void add_dots(const std::byte* const* w, const float* const* x, int64_t cols,
              typename L::F (&sums)[kRows][kTokens]) {
  using F = typename L::F;
  int64_t c = 0;
  for (; c + L::kLanes <= cols; c += L::kLanes) {
    F numbers[kTokens];
    for (int t = 0; t < kTokens; ++t) numbers[t] = L::load(x[t] + c);
    for (int r = 0; r < kRows; ++r) {
      const F weights = Read::at(w[r] + c * Read::kBytes);
      for (int t = 0; t < kTokens; ++t) sums[r][t] = L::fma(weights, numbers[t], sums[r][t]);
    }
  }
  if (c == cols) return;
  for (int r = 0; r < kRows; ++r) {
    const F weights = read_some<L, Read>(w[r] + c * Read::kBytes, cols - c);
    for (int t = 0; t < kTokens; ++t) {
      sums[r][t] = L::fma(weights, L::load_some(x[t] + c, cols - c), sums[r][t]);
    }
  }
}

// Columns decoded at a time, and tokens that share them.
constexpr int64_t kFloatColumns = 512;
constexpr int64_t kFloatPanelTokens = 48;

// kFloatColumns at most, to F32.
template <class L, class Read>
void decode_floats(const std::byte* bytes, int64_t count, float* numbers) {
  int64_t c = 0;
  for (; c + L::kLanes <= count; c += L::kLanes) {
    L::store(numbers + c, Read::at(bytes + c * Read::kBytes));
  }
  if (c < count) {
    L::store_some(numbers + c, count - c, read_some<L, Read>(bytes + c * Read::kBytes, count - c));
  }
}

// A matmul of F32 activations, split into tiles.
template <class L>
struct FloatProduct {
  using F = typename L::F;
  static constexpr int kRows = L::kFloatRows;
  static constexpr int kTokens = L::kFloatTokens;

  const Job& job;

  const float* numbers(int64_t token) const {
    return reinterpret_cast<const float*>(job.x + token * job.x_bytes);
  }
  const std::byte* row_at(int64_t row) const {
    const int64_t r = row < job.row_end ? row : job.row_end - 1;
    return reinterpret_cast<const std::byte*>(job.weights + r * job.row_bytes);
  }
  void finish(int64_t row, int64_t token, F sums) const {
    if (row < job.row_end) job.out[token * job.out_stride + row] = L::sum(sums);
  }

  // Weights read as they lie, once a tile of tokens.
  template <class Read, int kTile>
  void direct(int64_t row, int64_t token) const {
    const std::byte* rows[kRows];
    const float* vectors[kTile];
    F sums[kRows][kTile];
    for (int r = 0; r < kRows; ++r) rows[r] = row_at(row + r);
    for (int t = 0; t < kTile; ++t) vectors[t] = numbers(token + t);
    for (auto& line : sums) {
      for (F& sum : line) sum = L::zero();
    }
    add_dots<L, Read, kRows, kTile>(rows, vectors, job.cols, sums);
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < kTile; ++t) finish(row + r, token + t, sums[r][t]);
    }
  }

  // A tile of decoded columns; partial sums live in `saved` between ranges of columns.
  template <int kTile>
  void decoded(const float (*panel)[kFloatColumns], int64_t column, int64_t columns, int64_t token,
               F (*saved)[kRows]) const {
    const std::byte* rows[kRows];
    const float* vectors[kTile];
    F sums[kRows][kTile];
    for (int r = 0; r < kRows; ++r) rows[r] = reinterpret_cast<const std::byte*>(panel[r]);
    for (int t = 0; t < kTile; ++t) vectors[t] = numbers(token + t) + column;
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < kTile; ++t) sums[r][t] = saved[t][r];
    }
    add_dots<L, ReadF32<L>, kRows, kTile>(rows, vectors, columns, sums);
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < kTile; ++t) saved[t][r] = sums[r][t];
    }
  }

  // kRows rows made F32 once for up to kFloatPanelTokens tokens.
  template <class Read>
  void panel(int64_t row, int64_t token, int64_t token_end) const {
    float panel[kRows][kFloatColumns];
    F saved[kFloatPanelTokens][kRows];
    const int64_t tokens = token_end - token;
    for (int64_t t = 0; t < tokens; ++t) {
      for (F& sum : saved[t]) sum = L::zero();
    }
    for (int64_t c = 0; c < job.cols; c += kFloatColumns) {
      const int64_t columns = c + kFloatColumns < job.cols ? kFloatColumns : job.cols - c;
      for (int r = 0; r < kRows; ++r) {
        decode_floats<L, Read>(row_at(row + r) + c * Read::kBytes, columns, panel[r]);
      }
      int64_t t = 0;
      for (; t + kTokens <= tokens; t += kTokens) {
        decoded<kTokens>(panel, c, columns, token + t, saved + t);
      }
      for (; t < tokens; ++t) decoded<1>(panel, c, columns, token + t, saved + t);
    }
    for (int64_t t = 0; t < tokens; ++t) {
      for (int r = 0; r < kRows; ++r) finish(row + r, token + t, saved[t][r]);
    }
  }
};

template <class L, class Read>
void multiply_floats(const Job& job) {
  const FloatProduct<L> product{job};
  for (int64_t row = job.row_begin; row < job.row_end; row += L::kFloatRows) {
    if (job.tokens > 2 * L::kFloatTokens) {
      for (int64_t token = 0; token < job.tokens; token += kFloatPanelTokens) {
        const int64_t last = token + kFloatPanelTokens;
        product.template panel<Read>(row, token, last < job.tokens ? last : job.tokens);
      }
      continue;
    }
    int64_t token = 0;
    for (; token + L::kFloatTokens <= job.tokens; token += L::kFloatTokens) {
      product.template direct<Read, L::kFloatTokens>(row, token);
    }
    for (; token < job.tokens; ++token) product.template direct<Read, 1>(row, token);
  }
}

}  // namespace
}  // namespace ration
