// tensor/panel.h - the packed layout of quantised weights: what every fast kernel reads best.
//
// Source: the row-interleaved layouts that CPU engines of 2024 to 2026 converged on.
// A panel is 16 rows, their blocks interleaved: a block of the panel holds, field by field, that
// field of row 0, of row 1, ... of row 15. A field is 4 bytes, but for the one scale (F16, or a
// byte) that some types have alone. The fields are in the file's order or, where that is not the
// order of use, in that.
// So one load gives a vector whose lanes are rows, the bytes of a matrix are read from front to
// back, and a panel has just the bytes of its rows: packing changes no number. The last panel of a
// matrix is filled up with zero rows.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace ration {

inline constexpr int64_t kRowsAPanel = 16;

// Whether matrices of this type have panels: the quantised ones.
constexpr bool has_panels(DType dtype) { return info_of(dtype).block_elements > 1; }

constexpr int64_t panels_bytes(DType dtype, int64_t rows, int64_t cols) {
  return (rows + kRowsAPanel - 1) / kRowsAPanel * kRowsAPanel * row_bytes(dtype, cols);
}

// Where the field of a Q6_K block at `offset` lies in a panel's block: the scales come first, then
// each 16 bytes of high bits right after the two runs of low bits that they complete.
constexpr int64_t place_of_q6_k(int64_t offset) {
  constexpr int64_t kScales = 16, kPiece = 48;
  if (offset >= 208) return offset;
  if (offset >= 192) return offset - 192;
  const bool is_high = offset >= 128;
  const int64_t half = is_high ? (offset - 128) / 32 : offset / 64;
  const int64_t run = is_high ? 2 : offset % 64 / 32;
  return kScales + kPiece * (2 * half + offset % 32 / 16) + 16 * run + offset % 16;
}

// Split panels, for matrices whose rows are screened for the best products (Kernels::screen): the
// weights' upper four bits and the scales of all panels come first, the other bits after them, so
// that a look at the upper bits reads little more than half the bytes, from front to back. A nibble
// is
// (q + 128) >> 4 of a Q8_0 and q >> 2 of a Q6_K weight, and lies where Q4_0 and Q6_K have their
// nibbles; a block's rest are nibbles or pairs of bits in the same order.
struct SplitBlock {
  int64_t upper_bytes = 0;  // 0: the type has no split panels
  int64_t lower_bytes = 0;
};
constexpr SplitBlock split_block_of(DType dtype) {
  if (dtype == DType::kQ8_0) return {2 + 16, 16};        // F16 scale, nibbles
  if (dtype == DType::kQ6_K) return {16 + 128 + 2, 64};  // scales, nibbles, F16 scale
  return {};
}
inline constexpr int64_t kSplitColumnsMax = 16384;
constexpr bool has_split_panels(DType dtype, int64_t cols) {
  return split_block_of(dtype).upper_bytes > 0 && cols <= kSplitColumnsMax;
}

// Where in a matrix of `rows` rows the two planes of the panel that begins at `row` lie.
struct SplitPlaces {
  int64_t upper = 0;
  int64_t lower = 0;
};
constexpr SplitPlaces split_places(SplitBlock block, int64_t rows, int64_t blocks, int64_t row) {
  const int64_t padded = (rows + kRowsAPanel - 1) / kRowsAPanel * kRowsAPanel;
  return {row * blocks * block.upper_bytes,
          padded * blocks * block.upper_bytes + row * blocks * block.lower_bytes};
}
constexpr SplitPlaces split_places(DType dtype, int64_t rows, int64_t cols, int64_t row) {
  return split_places(split_block_of(dtype), rows, cols / info_of(dtype).block_elements, row);
}

// As pack_panel() and unpack_panel_row(), with the panel's planes; of the row, columns
// [first, first + n). REQUIRES: has_split_panels(dtype, cols).
void pack_split_panel(DType dtype, int64_t cols, const std::byte* rows_of_blocks, int64_t rows,
                      std::byte* upper, std::byte* lower);
void unpack_split_row(DType dtype, const std::byte* upper, const std::byte* lower, int64_t row,
                      int64_t first, int64_t n, std::byte* out);

// `rows` (at most 16) neighbouring rows of `cols` numbers, as a file holds them -> one panel.
// REQUIRES: has_panels(dtype), cols is a multiple of the block.
void pack_panel(DType dtype, int64_t cols, const std::byte* rows_of_blocks, int64_t rows,
                std::byte* panel);

// Row `row` (below 16) of a panel, as the file held it: out is [row_bytes].
void unpack_panel_row(DType dtype, int64_t cols, const std::byte* panel, int64_t row,
                      std::byte* out);

}  // namespace ration
