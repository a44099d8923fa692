#include "tensor/panel.h"

#include <array>
#include <cstring>
#include <span>
#include <vector>

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

struct Field {
  int64_t offset;  // in the file's block
  int64_t place;   // in the panel's block, a row's share
  int64_t size;
};

// The fields of a block, in the file's order.
std::vector<Field> fields_of(DType dtype) {
  std::vector<Field> fields;
  const int64_t half = lone_half(dtype);
  for (int64_t offset = 0; offset < info_of(dtype).block_bytes;) {
    const int64_t size = offset == half ? 2 : 4;
    const int64_t place = dtype == DType::kQ6_K ? place_of_q6_k(offset) : offset;
    fields.push_back({offset, place, size});
    offset += size;
  }
  return fields;
}

// Computed once: a table a type.
std::span<const Field> fields(DType dtype) {
  static const auto tables = [] {
    std::array<std::vector<Field>, kDTypes.size()> all;
    for (size_t i = 0; i < all.size(); ++i) {
      if (has_panels(kDTypes[i].dtype)) all[i] = fields_of(kDTypes[i].dtype);
    }
    return all;
  }();
  return tables[static_cast<size_t>(&info_of(dtype) - kDTypes.data())];
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
      for (const Field& field : fields(dtype)) {
        std::byte* to = out + field.place * kRowsAPanel + r * field.size;
        if (field.size == 4) {
          std::memcpy(to, in + field.offset, 4);
        } else {
          std::memcpy(to, in + field.offset, 2);
        }
      }
    }
  }
}

void unpack_panel_row(DType dtype, int64_t cols, const std::byte* panel, int64_t row,
                      std::byte* out) {
  DCHECK(has_panels(dtype) && row >= 0 && row < kRowsAPanel);
  const int64_t stride = row_bytes(dtype, cols);
  const int64_t block = info_of(dtype).block_bytes;
  for (int64_t at = 0; at < stride; at += block) {
    for (const Field& field : fields(dtype)) {
      std::memcpy(out + at + field.offset,
                  panel + (at + field.place) * kRowsAPanel + row * field.size,
                  static_cast<size_t>(field.size));
    }
  }
}

}  // namespace ration
