#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tensor/kernels.h"

namespace ration {
namespace {

// A line of golden.txt (make_golden.py says where it comes from).
struct Golden {
  DType dtype;
  std::vector<std::byte> blocks;
  std::vector<float> weights;
};

std::vector<Golden> read_golden() {
  std::ifstream file(std::string(RATION_SOURCE_DIR) + "/test/tensor/golden.txt");
  std::vector<Golden> all;
  std::string name, blocks, weights;
  size_t count = 0;
  while (file >> name >> count >> blocks >> weights) {
    Golden golden;
    for (const DTypeInfo& info : kDTypes) {
      if (info.name == name) golden.dtype = info.dtype;
    }
    for (size_t i = 0; i < blocks.size(); i += 2) {
      golden.blocks.push_back(static_cast<std::byte>(std::stoul(blocks.substr(i, 2), nullptr, 16)));
    }
    for (size_t i = 0; i < weights.size(); i += 8) {
      const uint32_t bits = static_cast<uint32_t>(std::stoul(weights.substr(i, 8), nullptr, 16));
      golden.weights.push_back(std::bit_cast<float>(bits));
    }
    EXPECT_EQ(golden.weights.size(), count);
    all.push_back(std::move(golden));
  }
  return all;
}

TEST(Dequantize, every_type_equals_the_independent_decoder_bit_for_bit) {
  const std::vector<Golden> all = read_golden();
  ASSERT_EQ(all.size(), kDTypes.size());
  for (const DTypeInfo& info : kDTypes) {
    SCOPED_TRACE(info.name);
    const Golden* golden = nullptr;
    for (const Golden& one : all) {
      if (one.dtype == info.dtype) golden = &one;
    }
    ASSERT_NE(golden, nullptr);
    const int64_t n = static_cast<int64_t>(golden->weights.size());
    ASSERT_EQ(static_cast<int64_t>(golden->blocks.size()), row_bytes(info.dtype, n));
    std::vector<float> weights(golden->weights.size());
    dequantize(info.dtype, golden->blocks.data(), n, weights.data());
    for (size_t i = 0; i < weights.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(weights[i]), std::bit_cast<uint32_t>(golden->weights[i]))
          << "weight " << i << ": found " << weights[i] << ", wanted " << golden->weights[i];
    }
  }
}

TEST(Dequantize, a_row_is_found_by_its_number_and_at_any_address) {
  for (const Golden& golden : read_golden()) {
    const int64_t cols = info_of(golden.dtype).block_elements;
    const int64_t rows = static_cast<int64_t>(golden.weights.size()) / cols;
    std::vector<std::byte> moved(golden.blocks.size() + 1);
    std::copy(golden.blocks.begin(), golden.blocks.end(), moved.begin() + 1);
    const Matrix w{.dtype = golden.dtype, .rows = rows, .cols = cols, .data = moved.data() + 1};
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t r = 0; r < rows; ++r) {
      dequantize_row(w, r, row.data());
      for (int64_t c = 0; c < cols; ++c) {
        ASSERT_EQ(row[static_cast<size_t>(c)], golden.weights[static_cast<size_t>(r * cols + c)]);
      }
    }
  }
}

}  // namespace
}  // namespace ration
