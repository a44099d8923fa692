// tensor/panel.h - the packed layout of quantised weights: what every fast kernel reads best.
//
// Source: the row-interleaved layouts that CPU engines of 2024 to 2026 converged on.
// A panel is 16 rows, their blocks interleaved: a block of the panel holds, field by field, that
// field of row 0, of row 1, ... of row 15. A field is 4 bytes, but for the one F16 that some types
// have alone. The fields are in the file's order or, where that is not the order of use, in that.
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

// `rows` (at most 16) neighbouring rows of `cols` numbers, as a file holds them -> one panel.
// REQUIRES: has_panels(dtype), cols is a multiple of the block.
void pack_panel(DType dtype, int64_t cols, const std::byte* rows_of_blocks, int64_t rows,
                std::byte* panel);

// Row `row` (below 16) of a panel, as the file held it: out is [row_bytes].
void unpack_panel_row(DType dtype, int64_t cols, const std::byte* panel, int64_t row,
                      std::byte* out);

}  // namespace ration
