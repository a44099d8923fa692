// Prompts in another arithmetic than answers: on a set with deep products, AMX in plain C++.
#include <algorithm>
#include <cstring>

#include "test/run/tiny_engine.h"
#include "test/tensor/sets.h"

namespace ration {
namespace {

using Row = std::vector<float>;

// Dense, with experts, and with a shared expert too.
class Roles : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr EngineOptions kOptions{
      .context = 192, .kv_tokens = 192 * 8, .step_tokens_max = 64, .logit_rows_max = 64};

  void SetUp() override {
    if (!has_avx2(read_cpu_bits())) GTEST_SKIP() << "SIMDe makes AVX-512 from AVX2";
    Result<std::shared_ptr<const Model>> loaded = Model::load(
        std::string(RATION_SOURCE_DIR) + "/data/tiny/" + GetParam() + ".gguf", {.deep = true});
    ASSERT_TRUE(loaded);
    model_ = *loaded;
    for (const Stage& stage : model_->network().stages) {
      if (const auto* attention = std::get_if<AttentionStage>(&stage)) {
        ASSERT_TRUE(attention->query.weight.deep);
      } else if (const auto* experts = std::get_if<ExpertStage>(&stage)) {
        ASSERT_TRUE(experts->gate.deep && experts->up.deep && experts->down.deep);
        ASSERT_EQ(experts->shared_down.deep, experts->shared_inner() > 0);
        ASSERT_FALSE(experts->router.deep);
      }
    }
    engine_ = engine_with(pool_);
  }

  std::unique_ptr<Engine> engine_with(Pool& pool) {
    Result<std::unique_ptr<Engine>> made =
        Engine::make(model_, kEmulatedKernels, pool, budget_, kOptions);
    CHECK(made);
    return std::move(*made);
  }

  // Logits of the last of `tokens`, fed in steps of `chunk`.
  Row last_row(Sequence& sequence, std::span<const Token> tokens, size_t chunk, Role role) {
    for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
      const size_t count = std::min(chunk, tokens.size() - begin);
      const StepItem item{.sequence = &sequence,
                          .tokens = tokens.subspan(begin, count),
                          .role = role,
                          .wants_logits = true};
      CHECK(engine_->step({&item, 1}));
    }
    return row(0);
  }
  Row row(int64_t number) {
    const std::span<float> logits = engine_->logits(number);
    return {logits.begin(), logits.end()};
  }

  Budget budget_{"test", {.hard = Bytes{256 * kMiB}}};
  Pool pool_{1};  // waiting for a second one takes longer than this work
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(Roles, differ_and_each_is_the_same_bits_for_every_chunk) {
  const std::vector<Token> tokens = random_tokens(*model_, 40, 7);
  std::vector<Row> by_role;
  for (const Role role : {Role::kPrompt, Role::kGenerated}) {
    const Row wanted = last_row(*engine_->open(), tokens, 1, role);
    for (const size_t chunk : {3, 5, 33}) {
      EXPECT_EQ(last_row(*engine_->open(), tokens, chunk, role), wanted) << "chunk " << chunk;
    }
    by_role.push_back(wanted);
  }
  EXPECT_NE(by_role[0], by_role[1]);
}

TEST_P(Roles, are_the_same_bits_for_every_number_of_threads) {
  const std::vector<Token> tokens = random_tokens(*model_, 40, 7);
  const Row wanted = last_row(*engine_->open(), tokens, 33, Role::kPrompt);
  Pool three(3);
  engine_ = engine_with(three);
  EXPECT_EQ(last_row(*engine_->open(), tokens, 33, Role::kPrompt), wanted);
  engine_.reset();  // before its pool
}

TEST_P(Roles, share_a_batch_in_any_order_and_compute_what_they_would_alone) {
  const std::array roles{Role::kGenerated, Role::kPrompt, Role::kGenerated, Role::kPrompt,
                         Role::kGenerated};
  const std::array<size_t, 5> lengths{1, 20, 2, 1, 1};
  std::vector<std::vector<Token>> starts, ends;
  std::vector<Row> wanted;
  for (size_t i = 0; i < roles.size(); ++i) {
    starts.push_back(random_tokens(*model_, 9, i + 1));
    ends.push_back(random_tokens(*model_, static_cast<int64_t>(lengths[i]), i + 50));
    const std::unique_ptr<Sequence> sequence = engine_->open();
    last_row(*sequence, starts[i], 9, Role::kPrompt);
    wanted.push_back(last_row(*sequence, ends[i], 64, roles[i]));
  }
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<StepItem> items;
  for (size_t i = 0; i < roles.size(); ++i) {
    sequences.push_back(engine_->open());
    last_row(*sequences[i], starts[i], 9, Role::kPrompt);
    items.push_back({.sequence = sequences[i].get(),
                     .tokens = ends[i],
                     .role = roles[i],
                     .wants_logits = true});
  }
  ASSERT_TRUE(engine_->step(items));
  for (size_t i = 0; i < roles.size(); ++i) {
    EXPECT_EQ(row(static_cast<int64_t>(i)), wanted[i]) << "item " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Roles,
                         ::testing::Values("phi3-q8", "mixtral-q4_0", "qwen2moe-q8_0"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace ration
