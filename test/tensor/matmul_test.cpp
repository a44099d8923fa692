#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "samples.h"
#include "sets.h"

namespace ration {
namespace {

using samples::Kind;
using samples::random_numbers;
using samples::random_weights;
using samples::Tokens;
using samples::Weights;

std::vector<float> multiply(const Kernels& set, const Matrix& w, const Activations& x) {
  std::vector<float> out(static_cast<size_t>(x.tokens * w.rows), -1e30f);
  set.matmul(w, x, 0, w.rows, out.data(), w.rows);
  return out;
}

// Every product against one in double over the same weights and the same (rounded) activations. The
// bound is relative to the sum of the magnitudes of the terms: F32 rounding and nothing more.
void expect_exact_product(const Kernels& set, const Matrix& w, const Tokens& x) {
  const std::vector<float> found = multiply(set, w, x.activations);
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t r = 0; r < w.rows; ++r) {
    dequantize_row(w, r, row.data());
    for (int64_t t = 0; t < x.activations.tokens; ++t) {
      double sum = 0;
      double magnitude = 0;
      for (int64_t c = 0; c < w.cols; ++c) {
        const double term = static_cast<double>(row[static_cast<size_t>(c)]) *
                            x.numbers[static_cast<size_t>(t * w.cols + c)];
        sum += term;
        magnitude += std::fabs(term);
      }
      const double value = static_cast<double>(found[static_cast<size_t>(t * w.rows + r)]);
      ASSERT_NEAR(value, sum, 2e-6 * magnitude + 1e-30) << "row " << r << " token " << t;
    }
  }
}

class Matmul : public testing::TestWithParam<samples::NamedSet> {};

TEST_P(Matmul, equals_the_product_in_double_for_every_type_and_shape) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(1);
  for (const DTypeInfo& info : kDTypes) {
    for (int64_t cols : {32, 64, 96, 256, 512, 576, 896, 1536}) {
      if (cols % info.block_elements != 0) continue;
      for (int64_t rows : {1, 7, 8, 19}) {
        for (int64_t tokens : {1, 2, 5, 9}) {
          SCOPED_TRACE(std::string(info.name) + " " + std::to_string(rows) + "x" +
                       std::to_string(cols) + " tokens " + std::to_string(tokens));
          const Weights w = random_weights(info.dtype, rows, cols, rng);
          const Tokens x = samples::quantized(set, set.format_of(info.dtype),
                                              random_numbers(tokens * cols, rng), cols);
          expect_exact_product(set, w.matrix, x);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(Matmul, survives_extreme_and_zero_blocks) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(2);
  for (const DTypeInfo& info : kDTypes) {
    const int64_t cols = 1024;
    for (Kind kind : {Kind::kExtreme, Kind::kZero}) {
      SCOPED_TRACE(std::string(info.name) + (kind == Kind::kZero ? " zero" : " extreme"));
      const Weights w = random_weights(info.dtype, 11, cols, rng, kind);
      std::vector<float> x(static_cast<size_t>(6 * cols));
      for (int64_t c = 0; c < cols; ++c) {
        x[static_cast<size_t>(c)] = 3;                              // every quant +127
        x[static_cast<size_t>(cols + c)] = -3;                      // every quant -127
        x[static_cast<size_t>(2 * cols + c)] = c % 2 ? 3 : -3;      // alternating
        x[static_cast<size_t>(3 * cols + c)] = 0;                   // nothing
        x[static_cast<size_t>(4 * cols + c)] = c == 77 ? 1e3f : 0;  // one outlier
        x[static_cast<size_t>(5 * cols + c)] = c < 512 ? 1e-42f : samples::normal(rng);
      }
      expect_exact_product(set, w.matrix,
                           samples::quantized(set, set.format_of(info.dtype), x, cols));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// The rule of roles: a (row, token) pair has one result, whatever else is in the call.
TEST_P(Matmul, is_bit_identical_for_every_batch_and_split) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(3);
  for (const DTypeInfo& info : kDTypes) {
    const int64_t cols = info.block_elements == 256 ? 768 : 608;
    const int64_t rows = 43;
    const Weights w = random_weights(info.dtype, rows, cols, rng);
    const Tokens x =
        samples::quantized(set, set.format_of(info.dtype), random_numbers(33 * cols, rng), cols);
    std::vector<float> alone;  // every token by itself
    for (int64_t t = 0; t < 33; ++t) {
      Activations one = x.activations;
      one.tokens = 1;
      one.data = x.activations.row(t);
      const std::vector<float> row = multiply(set, w.matrix, one);
      alone.insert(alone.end(), row.begin(), row.end());
    }
    for (int64_t tokens = 1; tokens <= 33; tokens += tokens < 16 ? 1 : 17) {
      const int64_t first = 33 - tokens;
      Activations some = x.activations;
      some.tokens = tokens;
      some.data = x.activations.row(first);
      // Rows in two parts, cut at an odd place; a stride wider than the matrix.
      const int64_t cut = static_cast<int64_t>(rng.below(static_cast<uint64_t>(rows)));
      const int64_t stride = rows + 5;
      std::vector<float> out(static_cast<size_t>(tokens * stride), 12345.0f);
      set.matmul(w.matrix, some, 0, cut, out.data(), stride);
      set.matmul(w.matrix, some, cut, rows, out.data(), stride);
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t r = 0; r < stride; ++r) {
          const float found = out[static_cast<size_t>(t * stride + r)];
          const float wanted =
              r < rows ? alone[static_cast<size_t>((first + t) * rows + r)] : 12345.0f;
          ASSERT_EQ(std::bit_cast<uint32_t>(found), std::bit_cast<uint32_t>(wanted))
              << info.name << " tokens " << tokens << " row " << r << " token " << t;
        }
      }
    }
  }
}

// Ranges of columns, tiles and blocks of tokens, at every edge.
TEST_P(Matmul, gives_one_float_product_whatever_the_tile) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(8);
  const int64_t most = 130;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {4, 383}, {17, 384}, {18, 385}, {7, 1163}}) {
      const Weights w = random_weights(dtype, rows, cols, rng);
      const Tokens all =
          samples::quantized(set, set.format_of(dtype), random_numbers(most * cols, rng), cols);
      const auto product = [&](int64_t first, int64_t tokens) {
        Activations some = all.activations;
        some.tokens = tokens;
        some.data = all.activations.row(first);
        return multiply(set, w.matrix, some);
      };
      expect_exact_product(set, w.matrix, all);
      if (testing::Test::HasFatalFailure()) return;
      std::vector<float> alone;
      for (int64_t t = 0; t < most; ++t) {
        const std::vector<float> one = product(t, 1);
        alone.insert(alone.end(), one.begin(), one.end());
      }
      for (int64_t tokens = 1; tokens <= most; tokens += tokens < 28 ? 1 : 17) {
        const int64_t first = most - tokens;
        const std::vector<float> found = product(first, tokens);
        ASSERT_EQ(std::memcmp(found.data(), alone.data() + first * rows, found.size() * 4), 0)
            << info_of(dtype).name << " " << rows << "x" << cols << " tokens " << tokens;
      }
    }
  }
}

TEST_P(Matmul, gives_the_same_bits_from_panels) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(6);
  const auto compare = [&](Layout layout, const DTypeInfo& info, int64_t rows, int64_t cols) {
    const Weights w = random_weights(info.dtype, rows, cols, rng);
    const Weights panels = samples::packed(w, layout);
    for (int64_t tokens : {1, 2, 3, 4, 7, 8, 9, 130}) {
      const Tokens x = samples::quantized(set, set.format_of(info.dtype),
                                          random_numbers(tokens * cols, rng), cols);
      const std::vector<float> wanted = multiply(set, w.matrix, x.activations);
      std::vector<float> found(wanted.size());
      const int64_t cut = rows / 32 * kRowsAPanel;
      set.matmul(panels.matrix, x.activations, cut, rows, found.data(), rows);
      set.matmul(panels.matrix, x.activations, 0, cut, found.data(), rows);
      ASSERT_EQ(found, wanted) << info.name << " " << rows << "x" << cols << " x " << tokens;
    }
  };
  for (const DTypeInfo& info : kDTypes) {
    if (!has_panels(info.dtype)) continue;
    for (int64_t cols : {32, 96, 512, 1280}) {
      if (cols % info.block_elements != 0) continue;
      for (int64_t rows : {1, 8, 16, 31, 70}) {
        compare(Layout::kPanels, info, rows, cols);
        if (has_split_panels(info.dtype, cols)) compare(Layout::kSplitPanels, info, rows, cols);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// One row an exponent, with one weight of 2 at column 20.
TEST_P(Matmul, gives_every_scale_of_mxfp4_its_power_of_two) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(7);
  const Weights w = random_weights(DType::kMXFP4, 256, 32, rng, Kind::kZero);
  for (int e = 0; e < 256; ++e) {
    std::byte* block = w.bytes->data() + e * 17;
    std::memset(block, 0, 17);
    block[0] = static_cast<std::byte>(e);
    block[1 + 20 - 16] = std::byte{0x20};  // a high nibble
  }
  std::vector<float> x(32);
  x[20] = 127;
  const Tokens tokens = samples::quantized(set, set.format_of(DType::kMXFP4), x, 32);
  const std::vector<float> from_file = multiply(set, w.matrix, tokens.activations);
  const std::vector<float> from_panels =
      multiply(set, samples::packed(w).matrix, tokens.activations);
  for (size_t e = 0; e < 256; ++e) {
    const float wanted = std::ldexp(2.0f * 127.0f, static_cast<int>(e) - 128);
    EXPECT_EQ(from_file[e], wanted) << e;
    EXPECT_EQ(from_panels[e], wanted) << e;
  }
}

TEST_P(Matmul, gives_the_same_bits_however_panels_are_walked) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(7);
  for (const DTypeInfo& info : kDTypes) {
    if (!has_panels(info.dtype)) continue;
    const int64_t cols = 512, rows = 150;
    Weights panels = samples::packed(random_weights(info.dtype, rows, cols, rng));
    for (int64_t tokens : {1, 2, 5}) {
      const Tokens x = samples::quantized(set, set.format_of(info.dtype),
                                          random_numbers(tokens * cols, rng), cols);
      panels.matrix.walk = {};
      const std::vector<float> wanted = multiply(set, panels.matrix, x.activations);
      for (const Walk walk : {Walk{64, 1}, Walk{64, 4}, Walk{3360, 1}, Walk{65536, 4}}) {
        panels.matrix.walk = walk;
        ASSERT_EQ(multiply(set, panels.matrix, x.activations), wanted)
            << info.name << " " << walk.ahead_bytes << " x " << walk.panels;
      }
    }
  }
}

TEST_P(Matmul, takes_weights_at_any_address) {
  const Kernels& set = *GetParam().kernels;
  Rng rng(4);
  for (const DTypeInfo& info : kDTypes) {
    const int64_t cols = 512;
    const Weights w = random_weights(info.dtype, 10, cols, rng);
    const Tokens x =
        samples::quantized(set, set.format_of(info.dtype), random_numbers(3 * cols, rng), cols);
    const std::vector<float> wanted = multiply(set, w.matrix, x.activations);
    for (int64_t shift : {1, 2, 18, 32, 63}) {
      samples::Bytes64 moved(w.matrix.bytes(), shift);
      std::memcpy(moved.data(), w.matrix.data, static_cast<size_t>(w.matrix.bytes()));
      Matrix shifted = w.matrix;
      shifted.data = moved.data();
      ASSERT_EQ(multiply(set, shifted, x.activations), wanted) << info.name << " shift " << shift;
    }
  }
}

// Integer sums are exact and the few float operations are the same, so the fast sets agree on every
// bit; a machine's width does not change an answer.
TEST(MatmulSets, the_fast_sets_agree_bit_for_bit_on_int8_activations) {
  const std::vector<samples::NamedSet> sets = samples::all_sets();
  Rng rng(5);
  int compared = 0;
  for (const DTypeInfo& info : kDTypes) {
    const int64_t cols = 1536;
    const Weights w = random_weights(info.dtype, 37, cols, rng);
    const std::vector<float> numbers = random_numbers(9 * cols, rng);
    std::vector<float> wanted;
    for (const samples::NamedSet& set : sets) {
      const ActivationFormat format = set.kernels->format_of(info.dtype);
      if (format == ActivationFormat::kF32) continue;
      const Tokens x = samples::quantized(*set.kernels, format, numbers, cols);
      const std::vector<float> found = multiply(*set.kernels, w.matrix, x.activations);
      if (wanted.empty()) {
        wanted = found;
        continue;
      }
      ASSERT_EQ(found, wanted) << info.name << " " << set.name;
      ++compared;
    }
  }
  // Thirteen types have int8 activations; every fast set after the first is compared on each.
  const int fast_sets = static_cast<int>(sets.size()) - 1;
  EXPECT_EQ(compared, 13 * std::max(0, fast_sets - 1));
}

INSTANTIATE_TEST_SUITE_P(Sets, Matmul, testing::ValuesIn(samples::all_sets()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ration
