#include "tensor/panel.h"

#include <array>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.h"
#include "tensor/block.h"

namespace ration {
namespace {

struct Scale {
  int64_t offset;
  int64_t size;
};

// Where in a block the one scale lies that is no part of a 4-byte field; none: size 0.
Scale lone_scale(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
      return {0, 2};
    case DType::kQ3_K:
      return {108, 2};
    case DType::kQ6_K:
      return {208, 2};
    case DType::kMXFP4:
      return {0, 1};
    default:
      return {0, 0};
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
  const Scale scale = lone_scale(dtype);
  for (int64_t offset = 0; offset < info_of(dtype).block_bytes;) {
    const int64_t size = scale.size != 0 && offset == scale.offset ? scale.size : 4;
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
          std::memcpy(to, in + field.offset, static_cast<size_t>(field.size));
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

namespace {

// A Q8_0 block -> F16 scale, 16 bytes of upper nibbles; 16 bytes of lower ones.
void split(const BlockQ8_0& block, std::byte* upper, std::byte* lower) {
  std::memcpy(upper, block.scale, 2);
  for (int i = 0; i < 16; ++i) {
    const int first = block.quants[i] + 128, second = block.quants[i + 16] + 128;
    upper[2 + i] = static_cast<std::byte>(first >> 4 | (second & 0xf0));
    lower[i] = static_cast<std::byte>((first & 15) | (second & 15) << 4);
  }
}

void join(const std::byte* upper, const std::byte* lower, BlockQ8_0& block) {
  std::memcpy(block.scale, upper, 2);
  for (int i = 0; i < 16; ++i) {
    const int high = static_cast<int>(upper[2 + i]), low = static_cast<int>(lower[i]);
    block.quants[i] = static_cast<int8_t>(((high & 15) << 4 | (low & 15)) - 128);
    block.quants[i + 16] = static_cast<int8_t>(((high & 0xf0) | low >> 4) - 128);
  }
}

// Weight l of quarter k of a half has its four low bits in a nibble of low, its two high bits in
// high: bits 2 k of byte l. The four quarters of 16 weights make 32 bytes of nibbles and 16 of the
// rest.
void split(const BlockQ6_K& block, std::byte* upper, std::byte* lower) {
  std::memcpy(upper, block.scales, 16);
  std::memcpy(upper + 144, block.scale, 2);
  for (int half = 0; half < 2; ++half) {
    for (int l = 0; l < 32; ++l) {
      const uint8_t* low = block.low + 64 * half + l;
      const int high = block.high[32 * half + l];
      const int q[4] = {(low[0] & 15) | (high & 3) << 4, (low[32] & 15) | (high >> 2 & 3) << 4,
                        low[0] >> 4 | (high >> 4 & 3) << 4, low[32] >> 4 | (high >> 6 & 3) << 4};
      const int piece = 2 * half + l / 16;
      std::byte* nibbles = upper + 16 + 32 * piece + l % 16;
      nibbles[0] = static_cast<std::byte>(q[0] >> 2 | q[2] >> 2 << 4);
      nibbles[16] = static_cast<std::byte>(q[1] >> 2 | q[3] >> 2 << 4);
      lower[16 * piece + l % 16] =
          static_cast<std::byte>((q[0] & 3) | (q[1] & 3) << 2 | (q[2] & 3) << 4 | (q[3] & 3) << 6);
    }
  }
}

void join(const std::byte* upper, const std::byte* lower, BlockQ6_K& block) {
  std::memcpy(block.scales, upper, 16);
  std::memcpy(block.scale, upper + 144, 2);
  for (int half = 0; half < 2; ++half) {
    for (int l = 0; l < 32; ++l) {
      const int piece = 2 * half + l / 16;
      const std::byte* nibbles = upper + 16 + 32 * piece + l % 16;
      const int first = static_cast<int>(nibbles[0]), second = static_cast<int>(nibbles[16]);
      const int rest = static_cast<int>(lower[16 * piece + l % 16]);
      const int q[4] = {(first & 15) << 2 | (rest & 3), (second & 15) << 2 | (rest >> 2 & 3),
                        first >> 4 << 2 | (rest >> 4 & 3), second >> 4 << 2 | rest >> 6};
      uint8_t* low = block.low + 64 * half + l;
      low[0] = static_cast<uint8_t>((q[0] & 15) | (q[2] & 15) << 4);
      low[32] = static_cast<uint8_t>((q[1] & 15) | (q[3] & 15) << 4);
      block.high[32 * half + l] =
          static_cast<uint8_t>(q[0] >> 4 | q[1] >> 4 << 2 | q[2] >> 4 << 4 | q[3] >> 4 << 6);
    }
  }
}

// One row's fields of a block of one plane, each 4 bytes but for the F16 at `half` (none: -1), into
// their places among the rows of the panel's block, and back.
void put_row(const std::byte* fields, int64_t bytes, int64_t half, int64_t row, std::byte* block) {
  for (int64_t at = 0, size; at < bytes; at += size) {
    size = at == half ? 2 : 4;
    std::memcpy(block + kRowsAPanel * at + row * size, fields + at, static_cast<size_t>(size));
  }
}

void take_row(const std::byte* block, int64_t bytes, int64_t half, int64_t row, std::byte* fields) {
  for (int64_t at = 0, size; at < bytes; at += size) {
    size = at == half ? 2 : 4;
    std::memcpy(fields + at, block + kRowsAPanel * at + row * size, static_cast<size_t>(size));
  }
}

// The planes of a panel, and how to get from a row's block to its bytes there and back.
template <class Block>
struct SplitPanel {
  static constexpr DType kDType = sizeof(Block) == sizeof(BlockQ8_0) ? DType::kQ8_0 : DType::kQ6_K;
  static constexpr SplitBlock kSizes = split_block_of(kDType);
  static constexpr int64_t kHalf = kDType == DType::kQ8_0 ? 0 : 144;  // of the upper plane
  static constexpr int64_t kColumns = info_of(kDType).block_elements;

  static void pack(int64_t cols, const std::byte* in, int64_t rows, std::byte* upper_plane,
                   std::byte* lower_plane) {
    const int64_t blocks = cols / kColumns;
    for (int64_t r = 0; r < kRowsAPanel; ++r) {
      for (int64_t b = 0; b < blocks; ++b) {
        Block block{};
        const int64_t at = (r * blocks + b) * int64_t{sizeof block};
        if (r < rows) std::memcpy(&block, in + at, sizeof block);
        std::byte upper[kSizes.upper_bytes], lower[kSizes.lower_bytes];
        split(block, upper, lower);
        put_row(upper, kSizes.upper_bytes, kHalf, r,
                upper_plane + kRowsAPanel * b * kSizes.upper_bytes);
        put_row(lower, kSizes.lower_bytes, -1, r,
                lower_plane + kRowsAPanel * b * kSizes.lower_bytes);
      }
    }
  }

  static void unpack(const std::byte* upper_plane, const std::byte* lower_plane, int64_t r,
                     int64_t first, int64_t n, std::byte* out) {
    for (int64_t b = first / kColumns; b < (first + n) / kColumns; ++b) {
      std::byte upper[kSizes.upper_bytes], lower[kSizes.lower_bytes];
      take_row(upper_plane + kRowsAPanel * b * kSizes.upper_bytes, kSizes.upper_bytes, kHalf, r,
               upper);
      take_row(lower_plane + kRowsAPanel * b * kSizes.lower_bytes, kSizes.lower_bytes, -1, r,
               lower);
      Block block{};
      join(upper, lower, block);
      std::memcpy(out, &block, sizeof block);
      out += sizeof block;
    }
  }
};

}  // namespace

void pack_split_panel(DType dtype, int64_t cols, const std::byte* rows_of_blocks, int64_t rows,
                      std::byte* upper, std::byte* lower) {
  DCHECK(has_split_panels(dtype, cols) && rows >= 1 && rows <= kRowsAPanel);
  const auto pack =
      dtype == DType::kQ8_0 ? SplitPanel<BlockQ8_0>::pack : SplitPanel<BlockQ6_K>::pack;
  pack(cols, rows_of_blocks, rows, upper, lower);
}

void unpack_split_row(DType dtype, const std::byte* upper, const std::byte* lower, int64_t row,
                      int64_t first, int64_t n, std::byte* out) {
  DCHECK(split_block_of(dtype).upper_bytes > 0 && row >= 0 && row < kRowsAPanel);
  const auto unpack =
      dtype == DType::kQ8_0 ? SplitPanel<BlockQ8_0>::unpack : SplitPanel<BlockQ6_K>::unpack;
  unpack(upper, lower, row, first, n, out);
}

}  // namespace ration
