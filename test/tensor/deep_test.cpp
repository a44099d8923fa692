// Deep products: of the sets that have them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "samples.h"
#include "sets.h"

namespace ration {
namespace {

using samples::Kind;
using samples::random_numbers;
using samples::random_weights;
using samples::Tokens;
using samples::Weights;

std::vector<float> multiply_deep(const Kernels& set, const Matrix& w, const Activations& x) {
  std::vector<float> out(static_cast<size_t>(x.tokens * w.rows), -1e30f);
  set.matmul(w, x, 0, w.rows, out.data(), w.rows);
  return out;
}

Tokens deep_tokens(const Kernels& set, const std::vector<float>& x, int64_t cols) {
  return samples::quantized(set, ActivationFormat::kInt8Deep, x, cols);
}

// Each weight is off by half a step, what 16-bit slopes are rounded by, and no more. A step is
// 1/127 of the largest weight that the quants of the 256 columns could stand for; the largest that
// is there may be less by this factor.
constexpr double kReach = 1.6;
constexpr double kSteps = 0.5 + 0.26;

void expect_close_product(const Kernels& set, const Matrix& w, const Tokens& x) {
  const std::vector<float> found = multiply_deep(set, w, x.activations);
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t r = 0; r < w.rows; ++r) {
    dequantize_row(w, r, row.data());
    for (int64_t t = 0; t < x.activations.tokens; ++t) {
      double sum = 0, magnitude = 0, allowed = 0;
      for (int64_t first = 0; first < w.cols; first += 256) {
        double largest = 0, numbers = 0;
        for (int64_t c = first; c < std::min(first + 256, w.cols); ++c) {
          const double weight = static_cast<double>(row[static_cast<size_t>(c)]);
          const double number = x.numbers[static_cast<size_t>(t * w.cols + c)];
          largest = std::max(largest, std::fabs(weight));
          numbers += std::fabs(number);
          sum += weight * number;
          magnitude += std::fabs(weight * number);
        }
        allowed += kSteps * kReach * largest / 127 * numbers;
      }
      const double value = static_cast<double>(found[static_cast<size_t>(t * w.rows + r)]);
      ASSERT_NEAR(value, sum, allowed + 2e-6 * magnitude + 1e-30) << "row " << r << " token " << t;
    }
  }
}

class Deep : public testing::TestWithParam<samples::NamedSet> {};

TEST_P(Deep, product_is_off_by_half_a_step_a_weight_for_every_type_and_shape) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(1);
  for (const DTypeInfo& info : kDTypes) {
    if (!has_panels(info.dtype)) continue;
    for (int64_t cols : {32, 96, 256, 576, 1536}) {
      if (cols % info.block_elements != 0) continue;
      for (int64_t rows : {1, 16, 37}) {
        for (int64_t tokens : {5, 35}) {
          SCOPED_TRACE(std::string(info.name) + " " + std::to_string(rows) + "x" +
                       std::to_string(cols) + " tokens " + std::to_string(tokens));
          const Weights w = random_weights(info.dtype, rows, cols, rng);
          const Tokens x = deep_tokens(set, random_numbers(tokens * cols, rng), cols);
          expect_close_product(set, w.matrix, x);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Deep, product_survives_extreme_and_zero_blocks) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(2);
  for (const DTypeInfo& info : kDTypes) {
    if (!has_panels(info.dtype)) continue;
    const int64_t cols = 1024;
    for (Kind kind : {Kind::kExtreme, Kind::kZero}) {
      SCOPED_TRACE(std::string(info.name) + (kind == Kind::kZero ? " zero" : " extreme"));
      const Weights w = random_weights(info.dtype, 11, cols, rng, kind);
      std::vector<float> x(static_cast<size_t>(5 * cols));
      for (int64_t c = 0; c < cols; ++c) {
        x[static_cast<size_t>(c)] = 3;                              // every quant +127
        x[static_cast<size_t>(cols + c)] = -3;                      // every quant -127
        x[static_cast<size_t>(2 * cols + c)] = c % 2 ? 3 : -3;      // alternating
        x[static_cast<size_t>(3 * cols + c)] = 0;                   // nothing
        x[static_cast<size_t>(4 * cols + c)] = c == 77 ? 1e3f : 0;  // one outlier
      }
      expect_close_product(set, w.matrix, deep_tokens(set, x, cols));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// The rule of roles: from either layout, for every batch and split, the same bits; and the same in
// every set.
TEST_P(Deep, product_is_bit_identical_for_every_batch_split_layout_and_set) {
  const Kernels& set = *GetParam().kernels;
  const Kernels& other = *samples::deep_sets().front().kernels;
  Rng rng(3);
  for (const DTypeInfo& info : kDTypes) {
    if (!has_panels(info.dtype)) continue;
    const int64_t cols = info.block_elements == 256 ? 1280 : 1376;
    const int64_t rows = 39;
    const Weights w = random_weights(info.dtype, rows, cols, rng);
    const Weights panels = samples::packed(w);
    const Tokens x = deep_tokens(set, random_numbers(49 * cols, rng), cols);
    const std::vector<float> wanted = multiply_deep(other, w.matrix, x.activations);
    ASSERT_EQ(multiply_deep(set, panels.matrix, x.activations), wanted) << info.name;
    for (int64_t tokens : {1, 7, 16, 33}) {
      const int64_t first = 49 - tokens;
      Activations some = x.activations;
      some.tokens = tokens;
      some.data = x.activations.row(first);
      const int64_t stride = rows + 5;
      std::vector<float> out(static_cast<size_t>(tokens * stride), 12345.0f);
      const Matrix& matrix = tokens % 4 != 1 ? panels.matrix : w.matrix;
      set.matmul(matrix, some, 0, 16, out.data(), stride);
      set.matmul(matrix, some, 16, rows, out.data(), stride);
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t r = 0; r < stride; ++r) {
          const float right =
              r < rows ? wanted[static_cast<size_t>((first + t) * rows + r)] : 12345.0f;
          ASSERT_EQ(out[static_cast<size_t>(t * stride + r)], right)
              << info.name << " tokens " << tokens << " row " << r << " token " << t;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, Deep, testing::ValuesIn(samples::deep_sets()),
                         [](const auto& info) { return info.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Deep);

}  // namespace
}  // namespace ration
