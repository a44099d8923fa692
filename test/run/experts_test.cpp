#include "run/experts.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include "base/file.h"
#include "test/run/tiny_engine.h"

namespace ration {
namespace {

struct Chosen {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

Chosen choose(const std::vector<float>& logits, size_t used, bool renormalised) {
  Chosen chosen{std::vector<int32_t>(used, -1), std::vector<float>(used)};
  choose_experts(logits, renormalised, chosen.ids, chosen.weights);
  return chosen;
}

TEST(Experts, the_largest_logits_are_chosen_and_of_equal_ones_the_lower_id) {
  EXPECT_EQ(choose({1, 3, 2, 3, 0}, 3, true).ids, (std::vector<int32_t>{1, 3, 2}));
  EXPECT_EQ(choose({2, 2, 2, 2}, 2, true).ids, (std::vector<int32_t>{0, 1}));
  Rng rng(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> logits(1 + rng.below(40));
    for (float& logit : logits) logit = static_cast<float>(rng.below(10));
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](int32_t a, int32_t b) {
      const float of_a = logits[static_cast<size_t>(a)], of_b = logits[static_cast<size_t>(b)];
      return of_a != of_b ? of_a > of_b : a < b;
    });
    order.resize(1 + rng.below(logits.size()));
    EXPECT_EQ(choose(logits, order.size(), round % 2 == 0).ids, order);
  }
}

TEST(Experts, weights_are_a_softmax_over_all_or_over_the_chosen) {
  const std::vector<float> logits{0, std::log(4.f), std::log(3.f), std::log(2.f)};
  const Chosen all = choose(logits, 2, false);
  EXPECT_NEAR(all.weights[0], 0.4f, 1e-6);
  EXPECT_NEAR(all.weights[1], 0.3f, 1e-6);
  const Chosen chosen = choose(logits, 2, true);
  EXPECT_NEAR(chosen.weights[0], 4.f / 7, 1e-6);
  EXPECT_NEAR(chosen.weights[1], 3.f / 7, 1e-6);
  EXPECT_EQ(choose({1000, -1000, 999}, 1, true).weights[0], 1);
}

TEST(Experts, logits_that_are_no_numbers_still_give_different_experts) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& logits : std::vector<std::vector<float>>{
           {nan, nan, nan, nan}, {nan, 1, nan, 2}, {inf, inf, -inf, nan}, {-inf, -inf, -inf, 0}}) {
    for (size_t used = 1; used <= logits.size(); ++used) {
      const Chosen chosen = choose(logits, used, true);
      const std::set<int32_t> different(chosen.ids.begin(), chosen.ids.end());
      EXPECT_EQ(different.size(), used);
      EXPECT_GE(*different.begin(), 0);
      EXPECT_LT(*different.rbegin(), 4);
    }
  }
}

// Logits of every position of `tokens`, fed in steps of `chunk`.
std::vector<float> all_logits(Engine& engine, std::span<const Token> tokens, size_t chunk) {
  const std::unique_ptr<Sequence> sequence = engine.open();
  std::vector<float> logits;
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const size_t count = std::min(chunk, tokens.size() - begin);
    const StepItem item{.sequence = sequence.get(),
                        .tokens = tokens.subspan(begin, count),
                        .wants_all_logits = true};
    CHECK(engine.step({&item, 1}));
    for (size_t i = 0; i < count; ++i) {
      const std::span<float> row = engine.logits(static_cast<int64_t>(i));
      logits.insert(logits.end(), row.begin(), row.end());
    }
  }
  return logits;
}

TEST(Experts, packed_and_quantised_give_the_same_bits_for_every_chunk) {
  const std::filesystem::path file =
      std::string(RATION_SOURCE_DIR) + "/data/tiny/mixtral-q4_0.gguf";
  const std::filesystem::path panels = std::filesystem::temp_directory_path() /
                                       ("ration_experts_test." + std::to_string(::getpid()));
  Pool pool(2);
  Result<std::shared_ptr<const Model>> packed = Model::load(file, {.path = panels, .pool = &pool});
  Result<std::shared_ptr<const Model>> plain = Model::load(file);
  std::filesystem::remove(panels);  // the mapping keeps it
  ASSERT_TRUE(packed && plain);
  const auto& stage = std::get<ExpertStage>((*packed)->network().stages[1]);
  ASSERT_EQ(stage.gate.layout, Layout::kPanels);
  ASSERT_EQ(stage.down.layout, Layout::kPanels);
  const std::vector<Token> tokens = random_tokens(**plain, 24, 9);
  const EngineOptions options{
      .context = 64, .kv_tokens = 64, .step_tokens_max = 64, .logit_rows_max = 64};
  Budget budget("test", {.hard = Bytes{64 * kMiB}});
  for (const Kernels* kernels : available_kernels()) {
    const auto engine_of = [&](const std::shared_ptr<const Model>& model) {
      Result<std::unique_ptr<Engine>> made = Engine::make(model, *kernels, pool, budget, options);
      CHECK(made);
      return std::move(*made);
    };
    const auto from_file = engine_of(*plain), from_panels = engine_of(*packed);
    const std::vector<float> wanted = all_logits(*from_file, tokens, 1);
    for (const size_t chunk : {2, 5, 24}) {
      for (Engine* engine : {from_file.get(), from_panels.get()}) {
        const std::vector<float> found = all_logits(*engine, tokens, chunk);
        ASSERT_EQ(std::memcmp(found.data(), wanted.data(), wanted.size() * sizeof(float)), 0)
            << kernels->isa << " chunk " << chunk << (engine == from_file.get() ? "" : " panels");
      }
    }
  }
}

TEST(Experts, a_step_reads_only_the_experts_of_one_token) {
  TinyEngine tiny("mixtral");
  const Network& network = tiny.model->network();
  int64_t experts = 0;
  for (const Stage& stage : network.stages) {
    if (const auto* part = std::get_if<ExpertStage>(&stage)) {
      experts += part->gate.bytes() + part->up.bytes() + part->down.bytes();
    }
  }
  EXPECT_EQ(network.experts, 4);
  EXPECT_EQ(network.experts_used, 2);
  EXPECT_EQ(tiny.engine->step_weight_bytes(),
            tiny.model->file().tensor_bytes() - Bytes{network.embedding.bytes() + experts / 2});
}

}  // namespace
}  // namespace ration
