// tensor/matrix.h - what a matmul multiplies: a weight matrix, and a batch of activation rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/panel.h"

namespace ration {

// How a matrix's bytes are arranged. Every kernel set reads all, with the same results.
enum class Layout : uint8_t {
  kRowMajor,     // GGUF: row after row of blocks
  kPanels,       // 16 rows interleaved: tensor/panel.h
  kSplitPanels,  // the same, the upper four bits of all weights before the rest
};

// How a product of few tokens walks panels that come from memory. No result depends on it; what is
// fastest depends on the machine (measure_walk). Zero leaves the choice to the kernel.
struct Walk {
  int32_t ahead_bytes = 0;  // how far before its use a line is fetched
  int32_t panels = 0;       // walked side by side: 1 or kWalkPanelsMost

  friend bool operator==(const Walk&, const Walk&) = default;
};
inline constexpr int kWalkPanelsMost = 4;

// A weight matrix W: [rows, cols]. Borrowed: the mapped file or the packed cache owns the bytes.
struct Matrix {
  DType dtype = DType::kF32;
  Layout layout = Layout::kRowMajor;
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;
  Walk walk{};
  // Products with prompts may round it to int8 with one scale a 256 columns: it was found to bear
  // that (model/deep.h). The caller's promise; a set without such products pays no heed.
  bool deep = false;

  bool empty() const { return data == nullptr; }
  int64_t row_bytes() const { return ration::row_bytes(dtype, cols); }
  int64_t bytes() const {
    return layout == Layout::kRowMajor ? rows * row_bytes() : panels_bytes(dtype, rows, cols);
  }
  // REQUIRES: kRowMajor, or r is the first row of a panel.
  const std::byte* row(int64_t r) const { return data + r * row_bytes(); }
  // Rows [begin, begin + count) as a matrix of its own (fused projections are stored as one).
  // REQUIRES: as row(begin).
  Matrix slice(int64_t begin, int64_t count) const {
    return {dtype, layout, count, cols, row(begin), walk, deep};
  }
};

// Who wrote a token. The arithmetic of the two may differ; the arithmetic inside one may not.
enum class Role : uint8_t { kPrompt, kGenerated };

// The form in which a matmul wants its activations. The form says how a product is computed.
enum class ActivationFormat : uint8_t {
  kF32,       // as they are
  kInt8x32,   // int8, one F32 scale a 32 numbers, plus what the kernels precompute
  kInt8x256,  // int8, one F32 scale a 256 numbers, plus what the kernels precompute
  kInt8Deep,  // the same where weights, too, have one scale a 256 columns (the last may be fewer)
};

// X: [tokens, cols] in one of the formats, written by Kernels::quantize. Borrowed, 64-byte aligned
// rows.
struct Activations {
  ActivationFormat format = ActivationFormat::kF32;
  int64_t tokens = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;
  int64_t row_bytes = 0;  // distance from one token to the next, a multiple of 64

  const std::byte* row(int64_t t) const { return data + t * row_bytes; }
};

}  // namespace ration
