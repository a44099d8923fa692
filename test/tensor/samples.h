// test/tensor/samples.h - random weights and activations for the kernel tests, and what they mean.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "tensor/kernel/activation.h"
#include "tensor/kernels.h"

namespace ration::samples {

// Bytes at an address that is a multiple of 64 plus `shift`.
class Bytes64 {
 public:
  explicit Bytes64(int64_t bytes, int64_t shift = 0)
      : store_(static_cast<size_t>(bytes + 64 + shift)) {
    const auto address = reinterpret_cast<uintptr_t>(store_.data());
    data_ = store_.data() + (64 - address % 64) % 64 + shift;
  }
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }

 private:
  std::vector<std::byte> store_;
  std::byte* data_;
};

// Offsets of the F16 numbers in a block of each type.
inline std::vector<int> half_offsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    case DType::kF32:
    case DType::kBF16:
    case DType::kMXFP4:
      return {};
    default:
      return {0};
  }
}

inline float normal(Rng& rng) {
  float sum = 0;
  for (int i = 0; i < 12; ++i) sum += static_cast<float>(rng.uniform());
  return sum - 6;
}

enum class Kind {
  kRandom,   // random bytes, scales of either sign
  kExtreme,  // every quant, group scale and block scale at its largest, both signs of block scales
  kZero,     // every third block all zero bytes, the rest random
};

// A matrix with storage of its own that starts `shift` bytes after a multiple of 64.
struct Weights {
  Matrix matrix;
  std::shared_ptr<Bytes64> bytes;
};

inline Weights random_weights(DType dtype, int64_t rows, int64_t cols, Rng& rng,
                              Kind kind = Kind::kRandom, int64_t shift = 0) {
  Matrix matrix{.dtype = dtype, .rows = rows, .cols = cols};
  auto bytes = std::make_shared<Bytes64>(matrix.bytes(), shift);
  matrix.data = bytes->data();
  const DTypeInfo& info = info_of(dtype);
  std::byte* block = bytes->data();
  for (int64_t i = 0; i < rows * cols / info.block_elements; ++i, block += info.block_bytes) {
    if (dtype == DType::kF32 || dtype == DType::kBF16) {
      const float number = kind == Kind::kExtreme ? 1e4f : normal(rng);
      const std::byte* top = reinterpret_cast<const std::byte*>(&number) + 4 - info.block_bytes;
      std::memcpy(block, top, static_cast<size_t>(info.block_bytes));
      continue;
    }
    for (int b = 0; b < info.block_bytes; ++b) {
      block[b] = static_cast<std::byte>(kind == Kind::kExtreme ? 255 : rng.below(256));
    }
    if (dtype == DType::kMXFP4) {  // 2^-9 .. 2^4, or the largest that the other types get
      block[0] = static_cast<std::byte>(kind == Kind::kExtreme ? 131 : 119 + rng.below(14));
    }
    for (int offset : half_offsets(dtype)) {
      const float scale = kind == Kind::kExtreme ? (rng.below(2) != 0 ? 8.0f : -8.0f) : normal(rng);
      const uint16_t half = f32_to_f16(scale);
      std::memcpy(block + offset, &half, 2);
    }
    if (kind == Kind::kExtreme && dtype == DType::kQ8_0) std::memset(block + 2, 0x80, 32);
    if (kind == Kind::kExtreme && dtype == DType::kQ6_K) std::memset(block + 192, 0x80, 16);
    if (kind == Kind::kZero && i % 3 == 0) {
      std::memset(block, 0, static_cast<size_t>(info.block_bytes));
    }
  }
  return {matrix, bytes};
}

// The same matrix in panels.
inline Weights packed(const Weights& w, Layout layout = Layout::kPanels) {
  Matrix matrix = w.matrix;
  matrix.layout = layout;
  auto bytes = std::make_shared<Bytes64>(matrix.bytes());
  for (int64_t row = 0; row < matrix.rows; row += kRowsAPanel) {
    const int64_t rows = std::min(kRowsAPanel, matrix.rows - row);
    if (layout == Layout::kPanels) {
      pack_panel(matrix.dtype, matrix.cols, w.matrix.row(row), rows,
                 bytes->data() + row * matrix.row_bytes());
    } else {
      const SplitPlaces places = split_places(matrix.dtype, matrix.rows, matrix.cols, row);
      pack_split_panel(matrix.dtype, matrix.cols, w.matrix.row(row), rows,
                       bytes->data() + places.upper, bytes->data() + places.lower);
    }
  }
  matrix.data = bytes->data();
  return {matrix, bytes};
}

// Token rows in the format a set wants, and the numbers they hold after that rounding.
struct Tokens {
  Activations activations;
  std::shared_ptr<Bytes64> bytes;
  std::vector<double> numbers;  // [tokens, cols]
};

// The numbers an activation row stands for.
inline void decode_row(ActivationFormat format, const std::byte* row, int64_t cols, double* out) {
  const auto* quants = reinterpret_cast<const int8_t*>(row);
  for (int64_t c = 0; c < cols; ++c) {
    float scale;
    switch (format) {
      case ActivationFormat::kF32:
        std::memcpy(&scale, row + c * 4, 4);
        out[c] = static_cast<double>(scale);
        continue;
      case ActivationFormat::kInt8x32:
        std::memcpy(&scale, row + int8x32_scales_at(cols) + c / 32 * 4, 4);
        break;
      case ActivationFormat::kInt8x256:
        std::memcpy(&scale, row + int8x256_scales_at(cols) + c / 256 * 4, 4);
        break;
      case ActivationFormat::kInt8Deep:
        std::memcpy(&scale, row + deep_scales_at(cols) + c / 256 * 4, 4);
        break;
    }
    out[c] = static_cast<double>(scale) * static_cast<double>(quants[c]);
  }
  if (format != ActivationFormat::kInt8Deep) return;
  for (int64_t i = 0; i < deep_blocks(cols) * kDeepApart; ++i) {
    DeepApart apart;
    std::memcpy(&apart, row + deep_apart_at(cols) + i * static_cast<int64_t>(sizeof apart),
                sizeof apart);
    if (apart.number == 0) continue;
    const int64_t column = i / kDeepApart * kDeepColumns + 4 * apart.quad +
                           std::countr_zero(static_cast<uint32_t>(apart.pick)) / 8;
    CHECK(quants[column] == 0);
    out[column] = static_cast<double>(apart.number);
  }
}

inline Tokens quantized(const Kernels& set, ActivationFormat format, const std::vector<float>& x,
                        int64_t cols) {
  Tokens tokens;
  const int64_t count = static_cast<int64_t>(x.size()) / cols;
  const int64_t row_bytes = activation_row_bytes(format, cols);
  tokens.bytes = std::make_shared<Bytes64>(count * row_bytes);
  tokens.numbers.resize(x.size());
  for (int64_t t = 0; t < count; ++t) {
    std::byte* row = tokens.bytes->data() + t * row_bytes;
    set.quantize(format, x.data() + t * cols, cols, row);
    decode_row(format, row, cols, tokens.numbers.data() + t * cols);
  }
  tokens.activations = {.format = format,
                        .tokens = count,
                        .cols = cols,
                        .data = tokens.bytes->data(),
                        .row_bytes = row_bytes};
  return tokens;
}

inline std::vector<float> random_numbers(int64_t n, Rng& rng) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& number : x) number = normal(rng);
  return x;
}

}  // namespace ration::samples
