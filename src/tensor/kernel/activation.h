// tensor/kernel/activation.h - how the int8 activation formats lie in memory. Private to the tensor
// room: everyone else treats a row as activation_row_bytes() bytes.
//
// A row is the int8 numbers, padded to 64 bytes, then the numbers of its blocks, array after array.
// A number is scale * quant with |quant| <= 127; a block of zeros (or of numbers so small that
// 1/scale is no F32) has scale 0 and quants 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ration {

constexpr int64_t padded64(int64_t n) { return (n + 63) / 64 * 64; }

// kInt8x32: [cols] quants, then per block of 32: scale F32, scale * sum F32, sum int32.
constexpr int64_t int8x32_scales_at(int64_t cols) { return padded64(cols); }
constexpr int64_t int8x32_scaled_sums_at(int64_t cols) { return padded64(cols) + cols / 32 * 4; }
constexpr int64_t int8x32_sums_at(int64_t cols) { return padded64(cols) + cols / 32 * 8; }
constexpr int64_t int8x32_row_bytes(int64_t cols) {
  return padded64(padded64(cols) + cols / 32 * 12);
}

// kInt8x256: [cols] quants, then per block of 256: scale F32, 8 sums of 32 and 16 sums of 16,
// int16.
constexpr int64_t int8x256_scales_at(int64_t cols) { return padded64(cols); }
constexpr int64_t int8x256_sums32_at(int64_t cols) { return padded64(cols) + cols / 256 * 4; }
constexpr int64_t int8x256_sums16_at(int64_t cols) { return padded64(cols) + cols / 256 * 20; }
constexpr int64_t int8x256_row_bytes(int64_t cols) {
  return padded64(padded64(cols) + cols / 256 * 52);
}

// kInt8Deep: [cols] quants, zeros up to a multiple of 64, then per block of 256 columns (the last
// has the rest): scale F32, -128 * sum int32, and the numbers of largest magnitude, whose quants
// are 0: few tower over the others and would take their bits.
struct DeepApart {
  float number;
  int32_t quad;  // columns 4 quad .. of the block
  int32_t pick;  // 1 in the byte of the column among these
};
constexpr int64_t kDeepColumns = 256;
constexpr int64_t kDeepApart = 2;
constexpr int64_t deep_blocks(int64_t cols) { return (cols + kDeepColumns - 1) / kDeepColumns; }
constexpr int64_t deep_scales_at(int64_t cols) { return padded64(cols); }
constexpr int64_t deep_offsets_at(int64_t cols) { return padded64(cols) + deep_blocks(cols) * 4; }
constexpr int64_t deep_apart_at(int64_t cols) { return padded64(cols) + deep_blocks(cols) * 8; }
constexpr int64_t kDeepApartBytes = kDeepApart * static_cast<int64_t>(sizeof(DeepApart));
constexpr int64_t deep_row_bytes(int64_t cols) {
  return padded64(deep_apart_at(cols) + deep_blocks(cols) * kDeepApartBytes);
}

}  // namespace ration
