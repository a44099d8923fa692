#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "samples.h"
#include "sets.h"

namespace ration {
namespace {

class Quantize : public testing::TestWithParam<samples::NamedSet> {};

template <class T>
T number_at(const std::byte* p) {
  T number;
  std::memcpy(&number, p, sizeof number);
  return number;
}

struct Format {
  ActivationFormat format;
  int64_t block;
};
constexpr Format kFormats[] = {{ActivationFormat::kInt8x32, 32},
                               {ActivationFormat::kInt8x256, 256}};

TEST_P(Quantize, rounds_each_number_to_the_nearest_step_of_its_block) {
  Rng rng(1);
  for (const auto [format, block] : kFormats) {
    const int64_t cols = 5 * 256 + (block == 32 ? 96 : 0);
    std::vector<float> x = samples::random_numbers(cols, rng);
    for (int64_t c = 256; c < 512; ++c) x[static_cast<size_t>(c)] *= 1e-20f;
    for (int64_t c = 512; c < 768; ++c) x[static_cast<size_t>(c)] = 0;
    for (int64_t c = 768; c < 1024; ++c) x[static_cast<size_t>(c)] *= 1e30f;
    const samples::Tokens tokens = samples::quantized(*GetParam().kernels, format, x, cols);
    for (int64_t b = 0; b < cols / block; ++b) {
      double largest = 0;
      for (int64_t c = b * block; c < (b + 1) * block; ++c) {
        largest = std::max(largest, std::fabs(static_cast<double>(x[static_cast<size_t>(c)])));
      }
      const double step = largest / 127;
      for (int64_t c = b * block; c < (b + 1) * block; ++c) {
        const double error =
            tokens.numbers[static_cast<size_t>(c)] - static_cast<double>(x[static_cast<size_t>(c)]);
        ASSERT_LE(std::fabs(error), 0.5001 * step) << "column " << c;
      }
    }
  }
}

TEST_P(Quantize, writes_the_sums_its_layout_promises_and_nothing_outside_its_row) {
  Rng rng(2);
  for (const auto [format, block] : kFormats) {
    const int64_t cols = 768;
    const std::vector<float> x = samples::random_numbers(cols, rng);
    const int64_t bytes = activation_row_bytes(format, cols);
    samples::Bytes64 row(bytes + 64);
    std::memset(row.data(), 0x5a, static_cast<size_t>(bytes + 64));
    GetParam().kernels->quantize(format, x.data(), cols, row.data());
    const auto* quants = reinterpret_cast<const int8_t*>(row.data());
    const auto sum_of = [&](int64_t first, int64_t count) {
      int sum = 0;
      for (int64_t c = first; c < first + count; ++c) sum += quants[c];
      return sum;
    };
    if (block == 32) {
      for (int64_t b = 0; b < cols / 32; ++b) {
        const int sum = sum_of(b * 32, 32);
        const float scale = number_at<float>(row.data() + int8x32_scales_at(cols) + b * 4);
        EXPECT_EQ(number_at<int32_t>(row.data() + int8x32_sums_at(cols) + b * 4), sum);
        EXPECT_EQ(number_at<float>(row.data() + int8x32_scaled_sums_at(cols) + b * 4),
                  scale * static_cast<float>(sum));
      }
    } else {
      for (int64_t g = 0; g < cols / 32; ++g) {
        EXPECT_EQ(number_at<int16_t>(row.data() + int8x256_sums32_at(cols) + g * 2),
                  sum_of(g * 32, 32));
      }
      for (int64_t g = 0; g < cols / 16; ++g) {
        EXPECT_EQ(number_at<int16_t>(row.data() + int8x256_sums16_at(cols) + g * 2),
                  sum_of(g * 16, 16));
      }
    }
    for (int64_t i = bytes; i < bytes + 64; ++i) EXPECT_EQ(row.data()[i], std::byte{0x5a});
  }
}

TEST_P(Quantize, sets_the_two_largest_of_a_deep_block_apart) {
  Rng rng(4);
  constexpr ActivationFormat kDeep = ActivationFormat::kInt8Deep;
  const int64_t cols = 4 * 256 + 96;
  std::vector<float> x = samples::random_numbers(cols, rng);
  x[0] = -900;
  x[255] = 70;                                              // both apart
  for (size_t c = 256; c < 512; ++c) x[c] = 0;              // nothing
  for (size_t c = 512; c < 768; ++c) x[c] = c % 3 ? 1 : 8;  // many alike: the first two
  x[static_cast<size_t>(cols - 1)] = 1e4f;                  // the last of a short block
  const int64_t bytes = activation_row_bytes(kDeep, cols);
  samples::Bytes64 row(bytes + 64);
  std::memset(row.data(), 0x5a, static_cast<size_t>(bytes + 64));
  GetParam().kernels->quantize(kDeep, x.data(), cols, row.data());
  for (int64_t i = bytes; i < bytes + 64; ++i) ASSERT_EQ(row.data()[i], std::byte{0x5a});
  const samples::Tokens tokens = samples::quantized(*GetParam().kernels, kDeep, x, cols);
  const auto* quants = reinterpret_cast<const int8_t*>(row.data());
  for (int64_t b = 0; b < deep_blocks(cols); ++b) {
    const int64_t first = b * 256, end = std::min(first + 256, cols);
    std::vector<double> magnitudes;
    int32_t sum = 0;
    for (int64_t c = first; c < end; ++c) {
      magnitudes.push_back(std::fabs(static_cast<double>(x[static_cast<size_t>(c)])));
      sum += quants[c];
    }
    EXPECT_EQ(number_at<int32_t>(row.data() + deep_offsets_at(cols) + 4 * b), -128 * sum);
    std::ranges::sort(magnitudes, std::greater());
    for (int64_t c = first; c < end; ++c) {
      const auto number = static_cast<double>(x[static_cast<size_t>(c)]);
      const double error = tokens.numbers[static_cast<size_t>(c)] - number;
      const double step = std::fabs(number) > magnitudes[2] ? 0 : magnitudes[2] / 127;
      ASSERT_LE(std::fabs(error), 0.5001 * step) << "column " << c;
    }
  }
}

TEST(QuantizeToF32, keeps_the_numbers_in_every_set) {
  Rng rng(3);
  const std::vector<float> x = samples::random_numbers(77, rng);
  for (const samples::NamedSet& set : samples::all_sets()) {
    samples::Bytes64 row(activation_row_bytes(ActivationFormat::kF32, 77));
    set.kernels->quantize(ActivationFormat::kF32, x.data(), 77, row.data());
    EXPECT_EQ(std::memcmp(row.data(), x.data(), 77 * sizeof(float)), 0) << set.name;
  }
}

TEST(ActivationRow, is_a_multiple_of_64_bytes_and_holds_what_the_layout_says) {
  for (int64_t cols : {32, 64, 96, 256, 576, 896, 1536, 8960}) {
    EXPECT_EQ(activation_row_bytes(ActivationFormat::kF32, cols) % 64, 0);
    EXPECT_GE(activation_row_bytes(ActivationFormat::kF32, cols), cols * 4);
    EXPECT_EQ(activation_row_bytes(ActivationFormat::kInt8x32, cols) % 64, 0);
    EXPECT_GE(activation_row_bytes(ActivationFormat::kInt8x32, cols),
              int8x32_sums_at(cols) + cols / 32 * 4);
    EXPECT_EQ(activation_row_bytes(ActivationFormat::kInt8x256, cols) % 64, 0);
    EXPECT_GE(activation_row_bytes(ActivationFormat::kInt8x256, cols),
              int8x256_sums16_at(cols) + cols / 256 * 32);
  }
}

// The reference set has no int8 formats.
std::vector<samples::NamedSet> fast_sets() {
  std::vector<samples::NamedSet> sets = samples::all_sets();
  std::erase_if(sets, [](const auto& set) { return set.name == "reference"; });
  return sets;
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Quantize);
INSTANTIATE_TEST_SUITE_P(Sets, Quantize, testing::ValuesIn(fast_sets()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ration
