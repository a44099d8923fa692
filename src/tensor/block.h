// tensor/block.h - the bytes of one block of every quantised type, as GGUF files hold them.
//
// Every field is a byte array, so a block may lie at any address and has no padding. Numbers of two
// bytes are little-endian F16 or integers: copy them out.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

namespace ration {

static_assert(std::endian::native == std::endian::little);

// 32 weights: scale * (q - 8); q[i] is the low nibble of quants[i], q[i + 16] the high one.
struct BlockQ4_0 {
  uint8_t scale[2];
  uint8_t quants[16];
};

// 32 weights: scale * q + min.
struct BlockQ4_1 {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t quants[16];
};

// 32 weights: scale * (q - 16); bit i of high is the fifth bit of q[i].
struct BlockQ5_0 {
  uint8_t scale[2];
  uint8_t high[4];
  uint8_t quants[16];
};

// 32 weights: scale * q + min.
struct BlockQ5_1 {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t high[4];
  uint8_t quants[16];
};

// 32 weights: scale * q.
struct BlockQ8_0 {
  uint8_t scale[2];
  int8_t quants[32];
};

// 256 weights in groups of 16: scale * s * q - min * m, where s and m are the low and high nibble
// of the group's byte in scales. A run of 32 bytes of quants holds 128 weights, 2 bits each, 32
// apart.
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t quants[64];
  uint8_t scale[2];
  uint8_t min[2];
};

// 256 weights in groups of 16: scale * (s - 32) * (q - 4), q = 2 bits of quants (laid out as in
// Q2_K) and a third from high, whose bit b of byte l belongs to weight 32 b + l. s has 6 bits.
struct BlockQ3_K {
  uint8_t high[32];
  uint8_t quants[64];
  uint8_t scales[12];
  uint8_t scale[2];
};

// 256 weights in groups of 32: scale * s * q - min * m; s and m have 6 bits (dequantize.cpp says
// where). A run of 32 bytes of quants holds two groups: the low nibbles, then the high ones.
struct BlockQ4_K {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t scales[12];
  uint8_t quants[128];
};

// As Q4_K with a fifth bit: bit b of high[l] belongs to weight 32 b + l.
struct BlockQ5_K {
  uint8_t scale[2];
  uint8_t min[2];
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t quants[128];
};

// 256 weights in groups of 16: scale * s * (q - 32). In each half of 128 weights, 64 bytes of low
// hold the low nibbles of weights l, l + 32 (in byte l, l + 32), then the high nibbles l + 64, l +
// 96; byte l of 32 bytes of high holds two more bits for each of the four.
struct BlockQ6_K {
  uint8_t low[128];
  uint8_t high[64];
  int8_t scales[16];
  uint8_t scale[2];
};

// 32 weights: scale * kIQ4Values[q].
struct BlockIQ4_NL {
  uint8_t scale[2];
  uint8_t quants[16];
};

// 256 weights in groups of 32: scale * (s - 32) * kIQ4Values[q]; s has 4 bits in scales_low and 2
// in scales_high.
struct BlockIQ4_XS {
  uint8_t scale[2];
  uint8_t scales_high[2];
  uint8_t scales_low[4];
  uint8_t quants[128];
};

// 32 weights: 2^(scale - 128) * kMXFP4Values[q], nibbles as in Q4_0. The microscaling format of the
// Open Compute Project (v1.0, 2023) with its E2M1 numbers doubled and its E8M0 scale halved. Scale
// 255, a NaN there, is one more power of two, as it is to every reader of GGUF.
struct BlockMXFP4 {
  uint8_t scale;
  uint8_t quants[16];
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22);
static_assert(sizeof(BlockQ5_1) == 24 && sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2_K) == 84);
static_assert(sizeof(BlockQ3_K) == 110 && sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176);
static_assert(sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_NL) == 18 && sizeof(BlockIQ4_XS) == 136);
static_assert(sizeof(BlockMXFP4) == 17);

static_assert(sizeof(BlockQ6_K) == kBlockBytesMax);

// The non-linear 4-bit levels of IQ4_NL and IQ4_XS.
inline constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// The levels of MXFP4, twice what its 4-bit floats are.
inline constexpr int8_t kMXFP4Values[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace ration
