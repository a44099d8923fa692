// tensor/kernel/quantize_code.h - activations to int8, for every set. The layout is activation.h's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/kernel/activation.h"
#include "tensor/matrix.h"

namespace ration {
namespace {

// Blocks whose largest magnitude is below this become zero: 127 / magnitude must be an F32.
constexpr float kSmallestMagnitude = 0x1p-110f;

// Quantises `columns` numbers (a multiple of 32) with one scale, rounding to nearest even. Writes
// the sum of every 16 quants to sums; returns the scale.
template <class L>
float quantize_block(const float* x, int64_t columns, std::byte* quants, int32_t* sums) {
  using F = typename L::F;
  F magnitudes = L::zero();
  for (int64_t c = 0; c < columns; c += L::kLanes) {
    magnitudes = L::max(magnitudes, L::abs(L::load(x + c)));
  }
  const float magnitude = L::largest(magnitudes);
  const bool tiny = magnitude < kSmallestMagnitude;
  const F inverse = L::set(tiny ? 0 : 127 / magnitude);
  for (int64_t c = 0; c < columns; c += 16) {
    sums[c / 16] = L::round16(x + c, inverse, quants + c);
  }
  return tiny ? 0 : magnitude / 127;
}

template <class L>
void quantize32(const float* x, int64_t cols, std::byte* out) {
  std::byte* scales = out + int8x32_scales_at(cols);
  std::byte* scaled_sums = out + int8x32_scaled_sums_at(cols);
  std::byte* quant_sums = out + int8x32_sums_at(cols);
  for (int64_t b = 0; b < cols / 32; ++b) {
    int32_t sums[2];
    const float scale = quantize_block<L>(x + b * 32, 32, out + b * 32, sums);
    const int32_t sum = sums[0] + sums[1];
    const float scaled_sum = scale * static_cast<float>(sum);
    std::memcpy(scales + b * 4, &scale, 4);
    std::memcpy(scaled_sums + b * 4, &scaled_sum, 4);
    std::memcpy(quant_sums + b * 4, &sum, 4);
  }
}

template <class L>
void quantize256(const float* x, int64_t cols, std::byte* out) {
  std::byte* scales = out + int8x256_scales_at(cols);
  std::byte* sums32 = out + int8x256_sums32_at(cols);
  std::byte* sums16 = out + int8x256_sums16_at(cols);
  for (int64_t b = 0; b < cols / 256; ++b) {
    int32_t sums[16];
    int16_t short_sums[24];  // of 32 columns, then of 16
    const float scale = quantize_block<L>(x + b * 256, 256, out + b * 256, sums);
    for (int g = 0; g < 16; ++g) short_sums[8 + g] = static_cast<int16_t>(sums[g]);
    for (int g = 0; g < 8; ++g) {
      short_sums[g] = static_cast<int16_t>(sums[2 * g] + sums[2 * g + 1]);
    }
    std::memcpy(scales + b * 4, &scale, 4);
    std::memcpy(sums32 + b * 16, short_sums, 16);
    std::memcpy(sums16 + b * 32, short_sums + 8, 32);
  }
}

// Takes the numbers of largest magnitude out of some columns (a multiple of 16, at most a block):
// of equal ones the first.
template <class L>
void set_apart(float* x, int64_t columns, std::byte* out) {
  float largest[kDeepColumns / 16];
  for (int64_t g = 0; g < columns / 16; ++g) {
    typename L::F most = L::zero();
    for (int64_t c = 0; c < 16; c += L::kLanes)
      most = L::max(most, L::abs(L::load(x + 16 * g + c)));
    largest[g] = L::largest(most);
  }
  for (int64_t i = 0; i < kDeepApart; ++i) {
    int64_t group = 0;
    for (int64_t g = 1; g < columns / 16; ++g) group = largest[g] > largest[group] ? g : group;
    float* numbers = x + 16 * group;
    int32_t at = 0;
    while (at < 15 && __builtin_fabsf(numbers[at]) != largest[group]) ++at;
    const auto column = static_cast<int32_t>(16 * group) + at;
    const DeepApart apart{numbers[at], column / 4, 1 << (column % 4 * 8)};
    std::memcpy(out + i * static_cast<int64_t>(sizeof apart), &apart, sizeof apart);
    numbers[at] = 0;
    largest[group] = 0;
    for (int64_t c = 0; c < 16; ++c) {
      const float magnitude = __builtin_fabsf(numbers[c]);
      largest[group] = magnitude > largest[group] ? magnitude : largest[group];
    }
  }
}

template <class L>
void quantize_deep(const float* x, int64_t cols, std::byte* out) {
  std::byte* scales = out + deep_scales_at(cols);
  std::byte* offsets = out + deep_offsets_at(cols);
  std::memset(out + cols, 0, static_cast<size_t>(padded64(cols) - cols));
  for (int64_t b = 0; b < deep_blocks(cols); ++b) {
    const int64_t first = b * kDeepColumns;
    const int64_t columns = first + kDeepColumns < cols ? kDeepColumns : cols - first;
    alignas(64) float rest[kDeepColumns];
    std::memcpy(rest, x + first, static_cast<size_t>(columns) * sizeof(float));
    set_apart<L>(rest, columns, out + deep_apart_at(cols) + b * kDeepApartBytes);
    int32_t sums[kDeepColumns / 16];
    const float scale = quantize_block<L>(rest, columns, out + first, sums);
    int32_t offset = 0;
    for (int64_t g = 0; g < columns / 16; ++g) offset -= 128 * sums[g];
    std::memcpy(scales + b * 4, &scale, 4);
    std::memcpy(offsets + b * 4, &offset, 4);
  }
}

template <class L>
void quantize(ActivationFormat format, const float* x, int64_t cols, std::byte* out) {
  switch (format) {
    case ActivationFormat::kF32:
      std::memcpy(out, x, static_cast<size_t>(cols) * sizeof(float));
      return;
    case ActivationFormat::kInt8x32:
      return quantize32<L>(x, cols, out);
    case ActivationFormat::kInt8x256:
      return quantize256<L>(x, cols, out);
    case ActivationFormat::kInt8Deep:
      return quantize_deep<L>(x, cols, out);
  }
}

}  // namespace
}  // namespace ration
