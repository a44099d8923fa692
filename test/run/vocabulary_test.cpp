#include "run/vocabulary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/pool.h"
#include "base/rng.h"
#include "run/logit_scan.h"
#include "tensor/panel.h"
#include "test/tensor/samples.h"

namespace ration {
namespace {

// A vocabulary's matrix, and the two ways to its logits.
class Vocabulary : public testing::TestWithParam<DType> {
 protected:
  static constexpr int64_t kWidth = 512, kRows = 3000;  // no multiple of 16

  void SetUp() override { use(samples::random_weights(GetParam(), kRows, kWidth, rng_)); }

  void use(const samples::Weights& weights) {
    split_ = samples::packed(weights, Layout::kSplitPanels);
    network_.width = kWidth;
    network_.vocabulary = kRows;
    network_.output.weight = split_.matrix;
  }

  // best 0: all.
  std::vector<float> logits(const samples::Tokens& x, int64_t best, int threads = 2) {
    Pool pool(threads);
    std::vector<float> out(static_cast<size_t>(x.activations.tokens * kRows));
    VocabularyProduct product(network_, kernels_, pool, x.activations, out.data());
    if (best == 0) {
      product.write_all();
    } else {
      product.write_best(best);
    }
    panels_seen_ = product.panels_seen();
    bytes_read_ = product.bytes_read();
    return out;
  }

  samples::Tokens tokens(std::vector<float> x) const {
    return samples::quantized(kernels_, kernels_.format_of(GetParam()), std::move(x), kWidth);
  }

  // The best of `found` are those of `wanted` in every bit, and no other number is made up.
  void expect_best(std::span<const float> found, std::span<const float> wanted, int64_t best) {
    std::vector<size_t> order(wanted.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, [&](size_t a, size_t b) {
      return wanted[a] > wanted[b] || (wanted[a] == wanted[b] && a < b);
    });
    for (size_t i = 0; i < order.size(); ++i) {
      const float logit = found[order[i]];
      if (static_cast<int64_t>(i) < best || logit != -kInfinity) {
        ASSERT_EQ(logit, wanted[order[i]]) << "rank " << i;
      }
    }
  }

  const Kernels& kernels_ = *available_kernels().front();
  Rng rng_{1};
  samples::Weights split_;
  Network network_;
  int64_t panels_seen_ = 0;
  Bytes bytes_read_;
};

TEST_P(Vocabulary, gives_the_best_in_the_bits_of_the_whole_product) {
  for (int64_t count : {1, 2, 5}) {
    const samples::Tokens x = tokens(samples::random_numbers(count * kWidth, rng_));
    const std::vector<float> wanted = logits(x, 0);
    for (int64_t best : {1, 5, 40, 256}) {
      for (int threads : {1, 3}) {
        const std::vector<float> found = logits(x, best, threads);
        for (int64_t t = 0; t < count; ++t) {
          const auto row = [&](const std::vector<float>& all) {
            return std::span(all).subspan(static_cast<size_t>(t * kRows), kRows);
          };
          expect_best(row(found), row(wanted), best);
        }
      }
    }
  }
}

// One row stands out, as the next token of a text does: nearly nothing else is multiplied.
TEST_P(Vocabulary, sees_little_of_the_matrix_when_one_row_stands_out) {
  std::vector<float> x(kWidth);
  dequantize_row(network_.output.weight, 1234, x.data());
  float most = 0;
  for (float number : x) most = std::max(most, std::fabs(number));
  for (float& number : x) number /= most;
  const samples::Tokens row = tokens(x);
  const std::vector<float> wanted = logits(row, 0);
  EXPECT_EQ(bytes_read_.count, split_.matrix.bytes());
  const std::vector<float> found = logits(row, 1);
  const int64_t upper = split_places(GetParam(), kRows, kWidth, 0).lower;
  EXPECT_EQ(bytes_read_.count, upper + panels_seen_ * kRowsAPanel * split_.matrix.row_bytes());
  EXPECT_LT(bytes_read_.count, split_.matrix.bytes());
  expect_best(found, wanted, 1);
  EXPECT_EQ(std::ranges::max_element(wanted) - wanted.begin(), 1234);
  EXPECT_LE(panels_seen_, 40);
  EXPECT_GT(std::ranges::count(found, -kInfinity), kRows / 2);
}

TEST_P(Vocabulary, keeps_the_order_through_bias_and_softcap) {
  const std::vector<float> bias = samples::random_numbers(kRows, rng_);
  network_.output.bias = bias.data();
  network_.output_softcap = 30;
  const samples::Tokens x = tokens(samples::random_numbers(kWidth, rng_));
  expect_best(logits(x, 7), logits(x, 0), 7);
}

TEST_P(Vocabulary, multiplies_all_rows_when_none_can_be_told_apart) {
  const samples::Tokens zero = tokens(std::vector<float>(kWidth, 0.0f));
  EXPECT_EQ(logits(zero, 1), std::vector<float>(kRows, 0.0f));
}

TEST_P(Vocabulary, does_not_hide_what_is_no_number) {
  std::vector<float> x = samples::random_numbers(kWidth, rng_);
  x[100] = std::numeric_limits<float>::quiet_NaN();
  const samples::Tokens broken = tokens(x);
  const std::vector<float> wanted = logits(broken, 0), found = logits(broken, 1);
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(std::isnan(found[i]), std::isnan(wanted[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Vocabulary, testing::Values(DType::kQ8_0, DType::kQ6_K),
                         [](const auto& info) { return std::string(info_of(info.param).name); });

}  // namespace
}  // namespace ration
