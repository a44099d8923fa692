#include "tensor/panel.h"

#include <cstring>

#include "base/check.h"

namespace ration {
namespace {

// Where in a block the one F16 lies that is no half of a 4-byte field; none: the block's end.
int64_t lone_half(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
      return 0;
    case DType::kQ3_K:
      return 108;
    case DType::kQ6_K:
      return 208;
    default:
      return info_of(dtype).block_bytes;
  }
}

// Calls field(offset, size) for each field of a block, in order.
template <class Field>
void for_fields(DType dtype, Field field) {
  const int64_t half = lone_half(dtype);
  const int64_t end = info_of(dtype).block_bytes;
  for (int64_t offset = 0; offset < end;) {
    const int64_t size = offset == half ? 2 : 4;
    field(offset, size);
    offset += size;
  }
}

}  // namespace

void pack_panel(DType dtype, int64_t cols, const std::byte* rows_of_blocks, int64_t rows,
                std::byte* panel) {
  DCHECK(has_panels(dtype) && rows >= 1 && rows <= kRowsAPanel);
  const int64_t stride = row_bytes(dtype, cols);
  const int64_t block = info_of(dtype).block_bytes;
  if (rows < kRowsAPanel) std::memset(panel, 0, static_cast<size_t>(kRowsAPanel * stride));
  for (int64_t at = 0; at < stride; at += block) {
    std::byte* out = panel + at * kRowsAPanel;
    for (int64_t r = 0; r < rows; ++r) {
      const std::byte* in = rows_of_blocks + r * stride + at;
      for_fields(dtype, [&](int64_t offset, int64_t size) {
        std::byte* to = out + offset * kRowsAPanel + r * size;
        if (size == 4) {
          std::memcpy(to, in + offset, 4);
        } else {
          std::memcpy(to, in + offset, 2);
        }
      });
    }
  }
}

void unpack_panel_row(DType dtype, int64_t cols, const std::byte* panel, int64_t row,
                      std::byte* out) {
  DCHECK(has_panels(dtype) && row >= 0 && row < kRowsAPanel);
  const int64_t stride = row_bytes(dtype, cols);
  const int64_t block = info_of(dtype).block_bytes;
  for (int64_t at = 0; at < stride; at += block) {
    for_fields(dtype, [&](int64_t offset, int64_t size) {
      std::memcpy(out + at + offset, panel + (at + offset) * kRowsAPanel + row * size,
                  static_cast<size_t>(size));
    });
  }
}

}  // namespace ration
