// What the bytes of every type mean, one block at a time and in the order of the definition.
#include <cstring>

#include "tensor/block.h"
#include "tensor/kernels.h"

namespace ration {
namespace {

uint16_t u16_at(const void* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float f16_at(const uint8_t (&bytes)[2]) { return f16_to_f32(u16_at(bytes)); }

void decode(const BlockQ4_0& block, float* out) {
  const float scale = f16_at(block.scale);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>((block.quants[i] & 15) - 8);
    out[i + 16] = scale * static_cast<float>((block.quants[i] >> 4) - 8);
  }
}

void decode(const BlockQ4_1& block, float* out) {
  const float scale = f16_at(block.scale);
  const float min = f16_at(block.min);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(block.quants[i] & 15) + min;
    out[i + 16] = scale * static_cast<float>(block.quants[i] >> 4) + min;
  }
}

// The fifth bit of weight i of a block of 32, in its place.
int fifth_bit(const uint8_t (&high)[4], int i) { return ((high[i / 8] >> (i % 8)) & 1) << 4; }

void decode(const BlockQ5_0& block, float* out) {
  const float scale = f16_at(block.scale);
  for (int i = 0; i < 16; ++i) {
    const int low = (block.quants[i] & 15) | fifth_bit(block.high, i);
    const int high = (block.quants[i] >> 4) | fifth_bit(block.high, i + 16);
    out[i] = scale * static_cast<float>(low - 16);
    out[i + 16] = scale * static_cast<float>(high - 16);
  }
}

void decode(const BlockQ5_1& block, float* out) {
  const float scale = f16_at(block.scale);
  const float min = f16_at(block.min);
  for (int i = 0; i < 16; ++i) {
    const int low = (block.quants[i] & 15) | fifth_bit(block.high, i);
    const int high = (block.quants[i] >> 4) | fifth_bit(block.high, i + 16);
    out[i] = scale * static_cast<float>(low) + min;
    out[i + 16] = scale * static_cast<float>(high) + min;
  }
}

void decode(const BlockQ8_0& block, float* out) {
  const float scale = f16_at(block.scale);
  for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(block.quants[i]);
}

// The two bits of weight i (0 .. 255) in the layout Q2_K and Q3_K share.
int two_bits(const uint8_t (&quants)[64], int i) {
  return (quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
}

void decode(const BlockQ2_K& block, float* out) {
  const float scale = f16_at(block.scale);
  const float min = f16_at(block.min);
  for (int i = 0; i < 256; ++i) {
    const uint8_t group = block.scales[i / 16];
    const float group_scale = scale * static_cast<float>(group & 15);
    const float group_min = min * static_cast<float>(group >> 4);
    out[i] = group_scale * static_cast<float>(two_bits(block.quants, i)) - group_min;
  }
}

// The 6-bit scale of group g (0 .. 15): four low bits in the nibbles of bytes 0 .. 7, two high bits
// in bytes 8 .. 11.
int q3_scale(const uint8_t (&scales)[12], int g) {
  const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
  const int high = (scales[8 + g % 4] >> (g / 4 * 2)) & 3;
  return low | high << 4;
}

void decode(const BlockQ3_K& block, float* out) {
  const float scale = f16_at(block.scale);
  for (int i = 0; i < 256; ++i) {
    const float group_scale = scale * static_cast<float>(q3_scale(block.scales, i / 16) - 32);
    const int third_bit = (block.high[i % 32] >> (i / 32)) & 1;
    const int quant = two_bits(block.quants, i) + 4 * third_bit - 4;
    out[i] = group_scale * static_cast<float>(quant);
  }
}

struct ScaleMin {
  int scale;
  int min;
};

// The 6-bit scale and minimum of group g (0 .. 7) of Q4_K and Q5_K. Groups 0 .. 3 have theirs in
// bytes g and g + 4; the others have four bits each in byte g + 4 and the top two in the free bits
// of the first eight bytes.
ScaleMin scale_min_of(const uint8_t (&scales)[12], int g) {
  if (g < 4) return {scales[g] & 63, scales[g + 4] & 63};
  return {(scales[g + 4] & 15) | (scales[g - 4] >> 6) << 4, (scales[g + 4] >> 4) | (scales[g] >> 6)
                                                                                       << 4};
}

// The nibble of weight i (0 .. 255) of Q4_K and Q5_K.
int nibble(const uint8_t (&quants)[128], int i) {
  return (quants[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15;
}

void decode(const BlockQ4_K& block, float* out) {
  const float scale = f16_at(block.scale);
  const float min = f16_at(block.min);
  for (int i = 0; i < 256; ++i) {
    const ScaleMin group = scale_min_of(block.scales, i / 32);
    const float group_scale = scale * static_cast<float>(group.scale);
    const float group_min = min * static_cast<float>(group.min);
    out[i] = group_scale * static_cast<float>(nibble(block.quants, i)) - group_min;
  }
}

void decode(const BlockQ5_K& block, float* out) {
  const float scale = f16_at(block.scale);
  const float min = f16_at(block.min);
  for (int i = 0; i < 256; ++i) {
    const ScaleMin group = scale_min_of(block.scales, i / 32);
    const float group_scale = scale * static_cast<float>(group.scale);
    const float group_min = min * static_cast<float>(group.min);
    const int quant = nibble(block.quants, i) | ((block.high[i % 32] >> (i / 32)) & 1) << 4;
    out[i] = group_scale * static_cast<float>(quant) - group_min;
  }
}

void decode(const BlockQ6_K& block, float* out) {
  const float scale = f16_at(block.scale);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128;
    const int quarter = i % 128 / 32;
    const uint8_t low_byte = block.low[half * 64 + i % 64];
    const int low = quarter < 2 ? low_byte & 15 : low_byte >> 4;
    const int high = (block.high[half * 32 + i % 32] >> (quarter * 2)) & 3;
    const float group_scale = scale * static_cast<float>(block.scales[i / 16]);
    out[i] = group_scale * static_cast<float>((low | high << 4) - 32);
  }
}

void decode(const BlockIQ4_NL& block, float* out) {
  const float scale = f16_at(block.scale);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(kIQ4Values[block.quants[i] & 15]);
    out[i + 16] = scale * static_cast<float>(kIQ4Values[block.quants[i] >> 4]);
  }
}

void decode(const BlockIQ4_XS& block, float* out) {
  const float scale = f16_at(block.scale);
  for (int group = 0; group < 8; ++group) {
    const int low = (block.scales_low[group / 2] >> (group % 2 * 4)) & 15;
    const int high = (u16_at(block.scales_high) >> (group * 2)) & 3;
    const float group_scale = scale * static_cast<float>((low | high << 4) - 32);
    for (int i = 0; i < 16; ++i) {
      const uint8_t byte = block.quants[group * 16 + i];
      out[group * 32 + i] = group_scale * static_cast<float>(kIQ4Values[byte & 15]);
      out[group * 32 + i + 16] = group_scale * static_cast<float>(kIQ4Values[byte >> 4]);
    }
  }
}

// The first two exponents give subnormal numbers.
float power_of_two(uint8_t scale) {
  const uint32_t exponent = scale;
  return std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
}

void decode(const BlockMXFP4& block, float* out) {
  const float scale = power_of_two(block.scale);
  for (int i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(kMXFP4Values[block.quants[i] & 15]);
    out[i + 16] = scale * static_cast<float>(kMXFP4Values[block.quants[i] >> 4]);
  }
}

template <class Block>
void decode_blocks(const std::byte* bytes, int64_t n, int64_t block_elements, float* out) {
  for (int64_t i = 0; i < n / block_elements; ++i) {
    Block block;
    std::memcpy(&block, bytes + i * static_cast<int64_t>(sizeof block), sizeof block);
    decode(block, out + i * block_elements);
  }
}

}  // namespace

void dequantize(DType dtype, const std::byte* blocks, int64_t n, float* out) {
  DCHECK(n % info_of(dtype).block_elements == 0);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, blocks, static_cast<size_t>(n) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < n; ++i) out[i] = f16_to_f32(u16_at(blocks + 2 * i));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < n; ++i) {
        out[i] = std::bit_cast<float>(static_cast<uint32_t>(u16_at(blocks + 2 * i)) << 16);
      }
      return;
    case DType::kQ4_0:
      return decode_blocks<BlockQ4_0>(blocks, n, 32, out);
    case DType::kQ4_1:
      return decode_blocks<BlockQ4_1>(blocks, n, 32, out);
    case DType::kQ5_0:
      return decode_blocks<BlockQ5_0>(blocks, n, 32, out);
    case DType::kQ5_1:
      return decode_blocks<BlockQ5_1>(blocks, n, 32, out);
    case DType::kQ8_0:
      return decode_blocks<BlockQ8_0>(blocks, n, 32, out);
    case DType::kQ2_K:
      return decode_blocks<BlockQ2_K>(blocks, n, 256, out);
    case DType::kQ3_K:
      return decode_blocks<BlockQ3_K>(blocks, n, 256, out);
    case DType::kQ4_K:
      return decode_blocks<BlockQ4_K>(blocks, n, 256, out);
    case DType::kQ5_K:
      return decode_blocks<BlockQ5_K>(blocks, n, 256, out);
    case DType::kQ6_K:
      return decode_blocks<BlockQ6_K>(blocks, n, 256, out);
    case DType::kIQ4_NL:
      return decode_blocks<BlockIQ4_NL>(blocks, n, 32, out);
    case DType::kIQ4_XS:
      return decode_blocks<BlockIQ4_XS>(blocks, n, 256, out);
    case DType::kMXFP4:
      return decode_blocks<BlockMXFP4>(blocks, n, 32, out);
  }
  CHECK(false, "found a type that no table names");
}

void dequantize_row(const Matrix& w, int64_t row, float* out) {
  dequantize_columns(w, row, 0, w.cols, out);
}

void dequantize_columns(const Matrix& w, int64_t row, int64_t first, int64_t n, float* out) {
  DCHECK(row >= 0 && row < w.rows && first >= 0 && first + n <= w.cols);
  if (w.layout == Layout::kRowMajor) {
    return dequantize(w.dtype, w.row(row) + row_bytes(w.dtype, first), n, out);
  }
  const int64_t lane = row % kRowsAPanel;
  const int64_t elements = info_of(w.dtype).block_elements;
  const std::byte* panel = w.row(row - lane);
  const SplitPlaces places = split_places(w.dtype, w.rows, w.cols, row - lane);
  std::byte block[kBlockBytesMax];
  for (int64_t c = first; c < first + n; c += elements, out += elements) {
    if (w.layout == Layout::kPanels) {
      unpack_panel_row(w.dtype, elements, panel + kRowsAPanel * row_bytes(w.dtype, c), lane, block);
    } else {
      unpack_split_row(w.dtype, w.data + places.upper, w.data + places.lower, lane, c, elements,
                       block);
    }
    dequantize(w.dtype, block, elements, out);
  }
}

}  // namespace ration
