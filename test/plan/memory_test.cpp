#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "plan/plan.h"

namespace ration {
namespace {

// SmolLM2-135M as its file says it.
ModelCost smollm2() {
  return {.name = "smollm2-135m",
          .weights = Bytes{98'362'432},
          .tables = Bytes{6'000'000},
          .layers = 30,
          .heads = 9,
          .kv_heads = 3,
          .head_size = 64,
          .width = 576,
          .inner = 1536,
          .vocabulary = 49'152,
          .context_max = 8192};
}

MemoryNeeds needs_of(int64_t limit) { return {.limit = Bytes{limit}, .program = Bytes{8'000'000}}; }

Bytes sum_of_tags(const MemoryPlan& plan) {
  Bytes total{0};
  for (const Bytes& bytes : plan.by_tag) total += bytes;
  return total;
}

TEST(Plan, a_block_holds_keys_and_values_of_32_tokens_in_whole_pages) {
  EXPECT_EQ(kv_block_bytes(smollm2()), Bytes{30 * 2 * 3 * 64 * 32 * 2});
  ModelCost tiny = smollm2();
  tiny.layers = 1;
  tiny.kv_heads = 1;
  tiny.head_size = 10;  // 1280 bytes
  EXPECT_EQ(kv_block_bytes(tiny), Bytes{4096});
}

TEST(Plan, ample_memory_gives_all_the_model_was_made_for_and_full_steps) {
  const auto plan = plan_memory(smollm2(), needs_of(4'000'000'000));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->context, 8192);
  EXPECT_EQ(plan->kv_tokens, 8192);
  EXPECT_EQ(plan->step_tokens, 128);
  EXPECT_EQ(plan->of(Tag::kWeights), Bytes{98'362'432});
  EXPECT_EQ(plan->of(Tag::kKv), kv_block_bytes(smollm2()) * 256);
  EXPECT_EQ(plan->of(Tag::kScratch), Bytes{14'000'000 + 4 * kMiB});
  EXPECT_EQ(plan->total, sum_of_tags(*plan));
}

TEST(Plan, layers_with_a_window_cost_their_window) {
  ModelCost model = smollm2();
  const auto kv = [&](int64_t tokens) { return kv_bytes(model, tokens, 1, 128); };
  EXPECT_EQ(kv(8192), kv_block_bytes(model) * 256);
  model.windowed_layers = 20;
  model.window = 512;
  const int64_t layer = 2 * 3 * 64 * 32 * 2;
  EXPECT_EQ(kv(256), Bytes{8 * 30 * layer});  // all of it is in the window
  EXPECT_EQ(kv(8192), Bytes{256 * 10 * layer + (512 / 32 + 128 / 32 + 2) * 20 * layer});
  EXPECT_EQ(kv_bytes(model, 8192, 4, 128),
            Bytes{256 * 10 * layer + 4 * (512 / 32 + 128 / 32 + 2) * 20 * layer});
  const Result<MemoryPlan> windowed = plan_memory(model, needs_of(180'000'000));
  ASSERT_TRUE(windowed);
  model.windowed_layers = 0;
  const Result<MemoryPlan> whole = plan_memory(model, needs_of(180'000'000));
  ASSERT_TRUE(whole);
  EXPECT_GT(windowed->context, 3 * whole->context / 2);
}

TEST(Plan, a_context_that_is_no_multiple_of_a_block_is_given_whole) {
  ModelCost model = smollm2();
  model.context_max = 1000;
  const auto plan = plan_memory(model, needs_of(1'000'000'000));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->context, 1000);
  EXPECT_EQ(plan->kv_tokens, 1024);
}

TEST(Plan, small_memory_gives_short_steps_before_a_short_context) {
  const ModelCost model = smollm2();
  MemoryNeeds needs = needs_of(0);
  needs.limit = cost_at(model, needs, 2048, 64, 2048).total;
  auto plan = plan_memory(model, needs);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->context, 2048);
  EXPECT_EQ(plan->step_tokens, 64);
  needs.limit = cost_at(model, needs, 512, 16, 512).total;
  plan = plan_memory(model, needs);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->context, 512);
  EXPECT_EQ(plan->step_tokens, 16);
  EXPECT_EQ(plan->total, needs.limit);
}

TEST(Plan, what_is_left_holds_more_conversations) {
  const ModelCost model = smollm2();
  MemoryNeeds needs = needs_of(0);
  needs.sequences = 4;
  needs.context = 1024;
  needs.limit = cost_at(model, needs, 1024, 128, 2560).total;
  auto plan = plan_memory(model, needs);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->context, 1024);
  EXPECT_EQ(plan->kv_tokens, 2560);
  needs.limit = Bytes{8'000'000'000};
  EXPECT_EQ(plan_memory(model, needs)->kv_tokens, 4096);
}

TEST(Plan, refusal_names_the_shortfall_and_what_would_fit) {
  ModelCost model = smollm2();
  const MemoryNeeds needs = needs_of(100'000'000);
  auto plan = plan_memory(model, needs);
  ASSERT_FALSE(plan);
  const Error& error = plan.error();
  EXPECT_EQ(error.code, Code::kOverBudget);
  ASSERT_TRUE(error.shortfall);
  EXPECT_EQ(error.shortfall->available, 100'000'000);
  EXPECT_EQ(error.shortfall->wanted, least_memory(model, needs).count);
  const std::string least =
      std::to_string((least_memory(model, needs).count + 999'999) / 1'000'000);
  EXPECT_EQ(
      error.message.substr(0, error.message.find(':')),
      "smollm2-135m needs at least " + least + " MB for 32 tokens of context, the limit is 100 MB");
  EXPECT_NE(error.message.find("short; smollm2-135m fits from " + least + " MB"), std::string::npos)
      << error.message;

  model.variants = {{"smollm2-135m q2_k", Bytes{60'000'000}},
                    {"smollm2-135m q3_k", Bytes{70'000'000}},
                    {"smollm2-135m q4_0", Bytes{91'000'000}},
                    {"smollm2-135m f16", Bytes{270'000'000}}};
  plan = plan_memory(model, needs);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("smollm2-135m q3_k (70 MB) fits"), std::string::npos)
      << plan.error().message;
}

TEST(Plan, a_stated_context_that_does_not_fit_is_refused_with_one_that_does) {
  const ModelCost model = smollm2();
  MemoryNeeds needs = needs_of(0);
  needs.limit = cost_at(model, needs, 1024, 16, 1024).total + Bytes{1000};
  needs.context = 4096;
  const auto plan = plan_memory(model, needs);
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().message.find("for 4096 tokens of context"), std::string::npos);
  EXPECT_NE(plan.error().message.find("a context of 1024 tokens fits"), std::string::npos)
      << plan.error().message;
  needs.context = 1024;
  EXPECT_TRUE(plan_memory(model, needs));
}

TEST(Plan, needs_that_make_no_sense_are_invalid) {
  const auto code = [](const MemoryNeeds& needs) {
    return plan_memory(smollm2(), needs).error().code;
  };
  MemoryNeeds needs = needs_of(1'000'000'000);
  needs.context = 8193;
  EXPECT_EQ(code(needs), Code::kInvalid);
  EXPECT_NE(plan_memory(smollm2(), needs).error().message.find("8193"), std::string::npos);
  needs = needs_of(1'000'000'000);
  needs.sequences = 0;
  EXPECT_EQ(code(needs), Code::kInvalid);
  needs = needs_of(-1);
  EXPECT_EQ(code(needs), Code::kInvalid);
  needs = needs_of(1'000'000'000);
  needs.step_tokens_max = 8;
  EXPECT_EQ(code(needs), Code::kInvalid);
  ModelCost empty = smollm2();
  empty.context_max = 0;
  EXPECT_EQ(plan_memory(empty, needs_of(1'000'000'000)).error().code, Code::kInvalid);
}

TEST(Plan, absurd_numbers_of_a_hostile_file_are_refused_without_overflow) {
  for (const int64_t huge : {int64_t{1} << 32, int64_t{1} << 48, int64_t{1} << 62}) {
    ModelCost model = smollm2();
    model.layers = model.kv_heads = model.head_size = model.vocabulary = model.width = huge;
    model.context_max = huge;
    const auto plan = plan_memory(model, needs_of(1'000'000'000));
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, Code::kOverBudget);
    EXPECT_GT(plan.error().shortfall->missing(), 0);
  }
  ModelCost endless = smollm2();
  endless.context_max = int64_t{1} << 62;  // only the context is absurd: as much as fits
  const auto plan = plan_memory(endless, needs_of(1'000'000'000));
  ASSERT_TRUE(plan);
  EXPECT_LE(plan->total, Bytes{1'000'000'000});
}

ModelCost random_model(Rng& rng) {
  ModelCost model;
  model.name = "random";
  model.weights = Bytes{static_cast<int64_t>(rng.below(2'000'000'000))};
  model.tables = Bytes{static_cast<int64_t>(rng.below(30'000'000))};
  model.layers = static_cast<int64_t>(1 + rng.below(80));
  model.kv_heads = static_cast<int64_t>(1 + rng.below(16));
  model.heads = model.kv_heads * static_cast<int64_t>(1 + rng.below(8));
  model.head_size = static_cast<int64_t>(16 * (1 + rng.below(16)));
  model.width = static_cast<int64_t>(64 * (1 + rng.below(80)));
  model.inner = 3 * model.width;
  model.vocabulary = static_cast<int64_t>(1 + rng.below(300'000));
  model.context_max = static_cast<int64_t>(1 + rng.below(200'000));
  if (rng.below(2) == 0) {
    model.windowed_layers =
        static_cast<int64_t>(rng.below(static_cast<uint64_t>(model.layers) + 1));
    model.window = static_cast<int64_t>(1 + rng.below(5'000));
  }
  return model;
}

MemoryNeeds random_needs(Rng& rng) {
  MemoryNeeds needs;
  needs.program = Bytes{static_cast<int64_t>(rng.below(40'000'000))};
  needs.sequences = static_cast<int64_t>(1 + rng.below(8));
  needs.logit_rows = static_cast<int64_t>(1 + rng.below(32));
  needs.threads = static_cast<int>(1 + rng.below(64));
  needs.context_min = static_cast<int64_t>(rng.below(3) * 32);
  needs.step_tokens_min = static_cast<int64_t>(1 + rng.below(32));
  needs.step_tokens_max = needs.step_tokens_min + static_cast<int64_t>(rng.below(256));
  return needs;
}

TEST(Plan, of_random_models_never_exceeds_the_limit_and_wastes_less_than_a_block) {
  Rng rng(1);
  int planned = 0;
  for (int round = 0; round < 3000; ++round) {
    const ModelCost model = random_model(rng);
    MemoryNeeds needs = random_needs(rng);
    needs.limit = Bytes{static_cast<int64_t>(rng.below(4'000'000'000))};
    const auto plan = plan_memory(model, needs);
    if (!plan) {
      ASSERT_EQ(plan.error().code, Code::kOverBudget);
      ASSERT_EQ(plan.error().shortfall->available, needs.limit.count);
      ASSERT_GT(plan.error().shortfall->missing(), 0);
      continue;
    }
    ++planned;
    ASSERT_LE(plan->total, needs.limit);
    ASSERT_EQ(plan->total, sum_of_tags(*plan));
    ASSERT_LE(plan->context, model.context_max);
    ASSERT_TRUE(plan->context % kPlanBlockTokens == 0 || plan->context == model.context_max);
    ASSERT_EQ(plan->kv_tokens % kPlanBlockTokens, 0);
    ASSERT_GE(plan->kv_tokens, plan->context);
    ASSERT_GE(plan->context, std::min(model.context_max, needs.context_min));
    ASSERT_GE(plan->step_tokens, needs.step_tokens_min);
    ASSERT_LE(plan->step_tokens, needs.step_tokens_max);
    // With full steps, one more block of context would not have fitted.
    if (plan->step_tokens == needs.step_tokens_max && plan->context < model.context_max) {
      const int64_t next = std::min(model.context_max, plan->context + kPlanBlockTokens);
      ASSERT_GT(cost_at(model, needs, next, plan->step_tokens, next).total, needs.limit);
    }
    // The very total it planned is a limit that gives as much.
    needs.limit = plan->total;
    ASSERT_EQ(plan_memory(model, needs)->context, plan->context);
  }
  EXPECT_GT(planned, 1000);
}

TEST(Plan, of_random_models_rises_with_the_limit_and_starts_exactly_at_the_least) {
  Rng rng(2);
  for (int round = 0; round < 300; ++round) {
    const ModelCost model = random_model(rng);
    MemoryNeeds needs = random_needs(rng);
    const Bytes least = least_memory(model, needs);
    needs.limit = least - Bytes{1};
    ASSERT_FALSE(plan_memory(model, needs));
    needs.limit = least;
    int64_t context = 0;
    int64_t step = 0;
    for (int grow = 0; grow < 60; ++grow) {
      const auto plan = plan_memory(model, needs);
      ASSERT_TRUE(plan);
      ASSERT_GE(plan->context, context);
      ASSERT_GE(plan->step_tokens, step);
      context = plan->context;
      step = plan->step_tokens;
      needs.limit +=
          Bytes{static_cast<int64_t>(rng.below(1 + static_cast<uint64_t>(least.count) / 20))};
    }
  }
}

TEST(Plan, of_random_models_costs_more_for_more_context_steps_and_conversations) {
  Rng rng(3);
  for (int round = 0; round < 2000; ++round) {
    const ModelCost model = random_model(rng);
    const MemoryNeeds needs = random_needs(rng);
    const auto context = static_cast<int64_t>(rng.below(100'000));
    const auto step = static_cast<int64_t>(1 + rng.below(256));
    const auto more = static_cast<int64_t>(rng.below(1000));
    const Bytes base = cost_at(model, needs, context, step, context).total;
    ASSERT_LE(base, cost_at(model, needs, context + more, step, context + more).total);
    ASSERT_LE(base, cost_at(model, needs, context, step + more, context).total);
    ASSERT_LE(base, cost_at(model, needs, context, step, context + more).total);
  }
}

TEST(Plan, the_limit_a_refusal_names_is_enough) {
  Rng rng(4);
  for (int round = 0; round < 500; ++round) {
    const ModelCost model = random_model(rng);
    MemoryNeeds needs = random_needs(rng);
    const auto refused = plan_memory(model, needs);
    ASSERT_FALSE(refused);
    const std::string& message = refused.error().message;
    const std::string words = "fits from ";
    const size_t at = message.rfind(words);
    ASSERT_NE(at, std::string::npos);
    const auto limit = parse_bytes(message.substr(at + words.size()));
    ASSERT_TRUE(limit) << message;
    needs.limit = *limit;
    ASSERT_TRUE(plan_memory(model, needs)) << message;
  }
}

TEST(Plan, the_engines_own_word_on_its_buffers_counts) {
  MemoryNeeds needs = needs_of(1'000'000'000);
  std::vector<StepShape> asked;
  needs.sequences = 4;
  needs.activations = [&](const StepShape& shape) {
    asked.push_back(shape);
    return Bytes{777 + shape.context};
  };
  const auto plan = plan_memory(smollm2(), needs);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->of(Tag::kActivations), Bytes{777 + plan->context});
  for (const StepShape& shape : asked) EXPECT_EQ(shape.logit_rows, 4);
}

TEST(Plan, estimates_buffers_from_above_and_not_by_far) {
  struct Case {
    StepShape shape;
    int64_t engine_bytes;
  };
  // What the engine takes for this model on two threads with its reference kernels, the hungriest.
  for (const Case& c : {Case{{.context = 32, .step_tokens = 16, .logit_rows = 1}, 1'011'840},
                        Case{{.context = 8192, .step_tokens = 16, .logit_rows = 1}, 1'011'840},
                        Case{{.context = 32, .step_tokens = 128, .logit_rows = 1}, 4'309'120},
                        Case{{.context = 8192, .step_tokens = 128, .logit_rows = 1}, 4'309'120}}) {
    const int64_t estimate = estimate_activations(smollm2(), c.shape, 2).count;
    EXPECT_GE(estimate, c.engine_bytes);
    EXPECT_LE(estimate, c.engine_bytes * 3 / 2);
  }
}

TEST(Plan, reads_as_one_line) {
  MemoryPlan plan;
  plan.total = Bytes{110'662'432};
  plan.by_tag[static_cast<size_t>(Tag::kKv)] = Bytes{12'300'000};
  plan.by_tag[static_cast<size_t>(Tag::kWeights)] = Bytes{98'362'432};
  EXPECT_EQ(to_text(plan), "111 MB: weights 98.4 MB, kv 12.3 MB");
}

}  // namespace
}  // namespace ration
