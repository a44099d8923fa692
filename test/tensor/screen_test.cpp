#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "samples.h"
#include "sets.h"

namespace ration {
namespace {

using samples::Kind;
using samples::random_numbers;
using samples::Tokens;
using samples::Weights;

constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ6_K};

struct Screened {
  std::vector<float> bounds;
  std::vector<float> products;
};

Screened screen(const Kernels& set, const Weights& w, const Tokens& x) {
  const Weights split = samples::packed(w, Layout::kSplitPanels);
  const int64_t rows = w.matrix.rows;
  Screened out;
  out.bounds.resize(static_cast<size_t>(rows * x.activations.tokens));
  out.products = out.bounds;
  const int64_t cut = rows / 32 * kRowsAPanel;
  set.screen(split.matrix, x.activations, cut, rows, out.bounds.data(), rows);
  set.screen(split.matrix, x.activations, 0, cut, out.bounds.data(), rows);
  set.matmul(split.matrix, x.activations, 0, rows, out.products.data(), rows);
  return out;
}

Tokens tokens_of(const Kernels& set, DType dtype, std::vector<float> x, int64_t cols) {
  return samples::quantized(set, set.format_of(dtype), std::move(x), cols);
}

class Screen : public testing::TestWithParam<samples::NamedSet> {};

TEST_P(Screen, bounds_every_product_and_not_by_far) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(1);
  for (const DType dtype : kTypes) {
    for (int64_t cols : {256, 768, 1536}) {
      for (int64_t tokens : {1, 2, 3, 4, 7}) {
        const Weights w = samples::random_weights(dtype, 70, cols, rng);
        const Screened found =
            screen(set, w, tokens_of(set, dtype, random_numbers(tokens * cols, rng), cols));
        double slack = 0, spread = 0;
        for (size_t i = 0; i < found.bounds.size(); ++i) {
          ASSERT_GE(found.bounds[i], found.products[i]) << info_of(dtype).name << " " << cols;
          slack += static_cast<double>(found.bounds[i] - found.products[i]);
          spread += std::fabs(static_cast<double>(found.products[i]));
        }
        EXPECT_LE(slack, spread) << info_of(dtype).name;  // random products keep their order
      }
    }
  }
}

// Every rest alike, at either end: as far from independent as rows get.
TEST_P(Screen, bounds_rows_whose_lower_bits_are_all_the_same) {
  const Kernels& set = *GetParam().kernels;
  constexpr int64_t kCols = 512, kRows = 32;
  Rng rng(2);
  for (const DType dtype : kTypes) {
    const int64_t block = info_of(dtype).block_bytes;
    for (int fill : {0x00, 0x11, 0x77, 0xff}) {  // both nibbles alike: Q6_K uses them apart
      Weights w = samples::random_weights(dtype, kRows, kCols, rng);
      auto* bytes = const_cast<std::byte*>(w.matrix.data);
      for (int64_t at = 0; at < w.matrix.bytes(); at += block) {
        if (dtype == DType::kQ8_0) {
          std::memset(bytes + at + 2, fill, 32);
        } else {
          std::memset(bytes + at, fill, 192);
        }
      }
      std::vector<float> x = random_numbers(3 * kCols, rng);
      for (size_t c = 0; c < kCols; ++c) x[c] = 1;
      for (size_t c = kCols; c < 2 * kCols; ++c) x[c] = std::fabs(x[c]);
      const Screened found = screen(set, w, tokens_of(set, dtype, std::move(x), kCols));
      for (size_t i = 0; i < found.bounds.size(); ++i) {
        ASSERT_GE(found.bounds[i], found.products[i]) << info_of(dtype).name << " fill " << fill;
      }
    }
  }
}

TEST_P(Screen, of_nothing_is_nothing) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(3);
  for (const DType dtype : kTypes) {
    const Weights w = samples::random_weights(dtype, 16, 256, rng, Kind::kZero);
    const Screened zero = screen(set, w, tokens_of(set, dtype, std::vector<float>(256, 0.0f), 256));
    for (size_t i = 0; i < 16; ++i) {
      EXPECT_EQ(zero.bounds[i], 0);
      EXPECT_EQ(zero.products[i], 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, Screen, testing::ValuesIn(samples::all_sets()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ration
