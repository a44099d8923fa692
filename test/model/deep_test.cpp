#include "model/deep.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/rng.h"
#include "model/model.h"

namespace ration {
namespace {

constexpr int64_t kRows = 64, kCols = 512;

// [kRows, kCols] numbers between -1 and 1.
std::vector<float> ordinary_weights() {
  Rng rng(1);
  std::vector<float> weights(static_cast<size_t>(kRows * kCols));
  for (float& weight : weights) weight = static_cast<float>(2 * rng.uniform() - 1);
  return weights;
}

DeepError error_of(const std::vector<float>& weights) {
  return deep_error({.dtype = DType::kF32,
                     .rows = kRows,
                     .cols = kCols,
                     .data = reinterpret_cast<const std::byte*>(weights.data())});
}

TEST(DeepError, of_ordinary_weights_is_half_a_percent) {
  // A step of 1/127 is off by 1/127/sqrt(12) at the root of the mean square, weights are 1/sqrt(3).
  const DeepError error = error_of(ordinary_weights());
  EXPECT_NEAR(error.rows, 0.0039, 0.0005);
  EXPECT_LT(error.column, 0.012);
}

TEST(DeepError, one_outlier_in_256_costs_the_others) {
  std::vector<float> weights = ordinary_weights();
  for (size_t i = 7; i < weights.size(); i += 256) weights[i] = 30;
  const DeepError error = error_of(weights);
  EXPECT_GT(error.rows, 0.03);
  EXPECT_GT(error.column, 0.1);
}

TEST(DeepError, a_column_of_small_weights_shows_by_itself) {
  std::vector<float> weights = ordinary_weights();
  for (size_t i = 9; i < weights.size(); i += kCols) weights[i] *= 0.01f;
  const DeepError error = error_of(weights);
  EXPECT_LT(error.rows, 0.005);
  EXPECT_GT(error.column, 0.3);
}

TEST(DeepError, of_zeros_is_nothing) {
  const DeepError error = error_of(std::vector<float>(static_cast<size_t>(kRows * kCols)));
  EXPECT_EQ(error.rows, 0);
  EXPECT_EQ(error.column, 0);
}

std::shared_ptr<const Model> load(bool deep) {
  Result<std::shared_ptr<const Model>> model =
      Model::load(std::string(RATION_SOURCE_DIR) + "/data/tiny/phi3-q8.gguf", {.deep = deep});
  CHECK(model);
  return *model;
}

TEST(MarkDeep, marks_what_is_asked_for_and_never_the_output) {
  for (const bool asked : {false, true}) {
    const std::shared_ptr<const Model> model = load(asked);
    int marked = 0;
    for (const Stage& stage : model->network().stages) {
      if (const auto* attention = std::get_if<AttentionStage>(&stage)) {
        marked += attention->query.weight.deep ? 1 : 0;
      }
    }
    EXPECT_EQ(marked > 0, asked);
    EXPECT_FALSE(model->network().output.weight.deep);
  }
}

}  // namespace
}  // namespace ration
