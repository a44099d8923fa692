// tensor/dtype.h - the number formats of weights, as GGUF numbers them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ration {

// The values are GGUF's tensor type ids.
enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
  kMXFP4 = 39,
};

// A row of `cols` numbers is cols / block_elements blocks of block_bytes bytes.
struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as llama.cpp and model names write it
  int32_t block_elements;
  int32_t block_bytes;
};

inline constexpr std::array kDTypes{
    DTypeInfo{DType::kF32, "F32", 1, 4},           DTypeInfo{DType::kF16, "F16", 1, 2},
    DTypeInfo{DType::kBF16, "BF16", 1, 2},         DTypeInfo{DType::kQ4_0, "Q4_0", 32, 18},
    DTypeInfo{DType::kQ4_1, "Q4_1", 32, 20},       DTypeInfo{DType::kQ5_0, "Q5_0", 32, 22},
    DTypeInfo{DType::kQ5_1, "Q5_1", 32, 24},       DTypeInfo{DType::kQ8_0, "Q8_0", 32, 34},
    DTypeInfo{DType::kQ2_K, "Q2_K", 256, 84},      DTypeInfo{DType::kQ3_K, "Q3_K", 256, 110},
    DTypeInfo{DType::kQ4_K, "Q4_K", 256, 144},     DTypeInfo{DType::kQ5_K, "Q5_K", 256, 176},
    DTypeInfo{DType::kQ6_K, "Q6_K", 256, 210},     DTypeInfo{DType::kIQ4_NL, "IQ4_NL", 32, 18},
    DTypeInfo{DType::kIQ4_XS, "IQ4_XS", 256, 136}, DTypeInfo{DType::kMXFP4, "MXFP4", 32, 17},
};

// Of the quantised types.
inline constexpr int64_t kBlockBytesMax = 210;

// nullptr when the id is none of ours.
constexpr const DTypeInfo* find_dtype(uint32_t id) {
  for (const DTypeInfo& info : kDTypes) {
    if (static_cast<uint32_t>(info.dtype) == id) return &info;
  }
  return nullptr;
}

constexpr const DTypeInfo& info_of(DType dtype) {
  return *find_dtype(static_cast<uint32_t>(dtype));
}

// Bytes of a row. REQUIRES: cols is a multiple of the block.
constexpr int64_t row_bytes(DType dtype, int64_t cols) {
  const DTypeInfo& info = info_of(dtype);
  return cols / info.block_elements * info.block_bytes;
}

}  // namespace ration
