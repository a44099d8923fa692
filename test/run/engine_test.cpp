#include "run/engine.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "plan/plan.h"
#include "run/kv.h"
#include "test/run/tiny_engine.h"

namespace ration {
namespace {

using Logits = std::vector<std::vector<float>>;  // by position

// All logits of `tokens`, fed in steps of `chunk`.
Logits run_in_chunks(Engine& engine, std::span<const Token> tokens, size_t chunk, Role role) {
  const std::unique_ptr<Sequence> sequence = engine.open();
  Logits logits;
  for (size_t begin = 0; begin < tokens.size(); begin += chunk) {
    const size_t count = std::min(chunk, tokens.size() - begin);
    const StepItem item{.sequence = sequence.get(),
                        .tokens = tokens.subspan(begin, count),
                        .role = role,
                        .wants_all_logits = true};
    const Status stepped = engine.step({&item, 1});
    CHECK(stepped);
    for (size_t i = 0; i < count; ++i) {
      const std::span<float> row = engine.logits(static_cast<int64_t>(i));
      logits.emplace_back(row.begin(), row.end());
    }
  }
  return logits;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Every family, every kernel set: all position's logits are the same bits whatever the chunk.
class EveryModel : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryModel, logits_do_not_depend_on_chunk_or_threads) {
  for (const Kernels* kernels : available_kernels()) {
    for (const Role role : {Role::kPrompt, Role::kGenerated}) {
      TinyEngine one(GetParam(), *kernels, 1);
      const std::vector<Token> tokens = random_tokens(*one.model, 70, 7);
      const Logits wanted = run_in_chunks(*one.engine, tokens, 1, role);
      // Three threads on two processors wait for each other: a few chunks of them say enough.
      const std::vector<std::vector<size_t>> chunks_by_threads{
          {2, 3, 4, 5, 7, 16, 33, 64}, {1, 5, 16, 64}, {7, 64}};
      for (int threads = 1; threads <= 3; ++threads) {
        TinyEngine many(GetParam(), *kernels, threads);
        for (const size_t chunk : chunks_by_threads[static_cast<size_t>(threads) - 1]) {
          const Logits found = run_in_chunks(*many.engine, tokens, chunk, role);
          ASSERT_EQ(found.size(), wanted.size());
          for (size_t p = 0; p < found.size(); ++p) {
            ASSERT_TRUE(same_bits(found[p], wanted[p])) << kernels->isa << " threads " << threads
                                                        << " chunk " << chunk << " position " << p;
          }
        }
      }
    }
  }
}

TEST_P(EveryModel, logits_do_not_depend_on_who_else_is_in_the_batch) {
  for (const Kernels* kernels : available_kernels()) {
    TinyEngine tiny(GetParam(), *kernels);
    constexpr size_t kSequences = 16;
    std::vector<std::vector<Token>> texts;
    std::vector<Logits> wanted;
    for (size_t s = 0; s < kSequences; ++s) {
      texts.push_back(random_tokens(*tiny.model, 12 + static_cast<int64_t>(s), s + 1));
      wanted.push_back(run_in_chunks(*tiny.engine, texts[s], 1, Role::kGenerated));
    }
    for (const size_t batch : {2, 3, 8, 16}) {
      std::vector<std::unique_ptr<Sequence>> sequences;
      for (size_t s = 0; s < batch; ++s) sequences.push_back(tiny.engine->open());
      for (size_t position = 0; position < 12; ++position) {
        std::vector<StepItem> items;
        for (size_t s = 0; s < batch; ++s) {
          items.push_back({.sequence = sequences[s].get(),
                           .tokens = {&texts[s][position], 1},
                           .role = Role::kGenerated,
                           .wants_logits = true});
        }
        ASSERT_TRUE(tiny.engine->step(items));
        for (size_t s = 0; s < batch; ++s) {
          const std::span<float> row = tiny.engine->logits(static_cast<int64_t>(s));
          ASSERT_TRUE(same_bits({row.begin(), row.end()}, wanted[s][position]))
              << kernels->isa << " batch " << batch << " sequence " << s;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, EveryModel,
                         ::testing::Values("llama-gqa", "qwen2", "qwen3-tied", "gemma3",
                                           "phi3-partial", "qwen2moe"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(Engine, truncated_sequence_continues_as_if_the_tail_had_never_been) {
  TinyEngine tiny("llama-gqa");
  const std::vector<Token> tokens = random_tokens(*tiny.model, 80, 3);
  const Logits wanted = run_in_chunks(*tiny.engine, tokens, 16, Role::kPrompt);
  const std::unique_ptr<Sequence> sequence = tiny.engine->open();
  const std::vector<Token> wrong = random_tokens(*tiny.model, 50, 4);
  const auto feed = [&](std::span<const Token> part) {
    const StepItem item{.sequence = sequence.get(), .tokens = part, .wants_logits = true};
    ASSERT_TRUE(tiny.engine->step({&item, 1}));
  };
  feed(std::span(tokens).first(40));
  feed(wrong);
  sequence->truncate(40);
  feed(std::span(tokens).subspan(40));
  const std::span<float> row = tiny.engine->logits(0);
  EXPECT_TRUE(same_bits({row.begin(), row.end()}, wanted.back()));
}

// Of a conversation, the tiny gemma3's windowed layers hold what the plan says.
class EveryKvType : public ::testing::TestWithParam<KvType> {};

TEST_P(EveryKvType, layers_with_a_window_hold_no_more_than_it) {
  TinyEngine tiny("gemma3", *available_kernels().front(), 1,
                  {.context = 640,
                   .kv_tokens = 640,
                   .step_tokens_max = 48,
                   .logit_rows_max = 1,
                   .kv_type = GetParam()});
  const Network& network = tiny.model->network();
  ModelCost cost{.layers = 0,
                 .kv_heads = network.kv_heads,
                 .head_size = network.head_size,
                 .kv_type = GetParam()};
  for (const Stage& stage : network.stages) {
    const auto* attention = std::get_if<AttentionStage>(&stage);
    if (!attention) continue;
    ++cost.layers;
    if (attention->window == 0) continue;
    ++cost.windowed_layers;
    cost.window = attention->window;
  }
  ASSERT_GT(cost.windowed_layers, 0);
  ASSERT_LT(cost.windowed_layers, cost.layers);
  const std::vector<Token> tokens = random_tokens(*tiny.model, 640, 6);
  const auto held = [&] { return tiny.budget.report().used[static_cast<size_t>(Tag::kKv)]; };
  const std::unique_ptr<Sequence> sequence = tiny.engine->open();
  const auto feed = [&](int64_t length) {
    while (sequence->length() < length) {
      const auto at = static_cast<size_t>(sequence->length());
      const StepItem item{.sequence = sequence.get(),
                          .tokens = std::span(tokens).subspan(at).first(
                              std::min<size_t>(48, static_cast<size_t>(length) - at))};
      ASSERT_TRUE(tiny.engine->step({&item, 1}));
      ASSERT_LE(held(), kv_bytes(cost, sequence->length(), 1, 48));
    }
  };
  feed(320);
  const Bytes middle = held();
  feed(640);
  // Twice the context: only the layers that see everything have grown.
  ModelCost whole = cost;
  whole.layers -= cost.windowed_layers;
  whole.windowed_layers = 0;
  EXPECT_EQ(held() - middle, kv_bytes(whole, 320, 1, 48));
  // What is still held can be taken back and fed again.
  EXPECT_GT(sequence->length_min(), 0);
  EXPECT_LE(sequence->length_min(), sequence->length() - 32);
  const std::span<float> row = tiny.engine->logits(0);
  const auto last_logits = [&] {
    const StepItem item{
        .sequence = sequence.get(),
        .tokens = std::span(tokens).subspan(static_cast<size_t>(sequence->length())),
        .wants_logits = true};
    CHECK(tiny.engine->step({&item, 1}));
    return std::vector<float>(row.begin(), row.end());
  };
  sequence->truncate(639);
  const std::vector<float> wanted = last_logits();
  for (const int64_t length : {sequence->length_min(), int64_t{608}, int64_t{620}}) {
    sequence->truncate(length);
    EXPECT_TRUE(same_bits(last_logits(), wanted)) << length;
  }
  sequence->truncate(0);
  EXPECT_EQ(held(), Bytes{0});
}

TEST(Engine, logits_do_not_depend_on_chunk_or_threads_with_an_int8_cache) {
  const EngineOptions options{.context = 96,
                              .kv_tokens = 96,
                              .step_tokens_max = 64,
                              .logit_rows_max = 64,
                              .kv_type = KvType::kInt8};
  for (const Kernels* kernels : available_kernels()) {
    for (const char* name : {"qwen2", "gemma3"}) {
      TinyEngine one(name, *kernels, 1, options);
      const std::vector<Token> tokens = random_tokens(*one.model, 70, 7);
      const Logits wanted = run_in_chunks(*one.engine, tokens, 1, Role::kGenerated);
      TinyEngine two(name, *kernels, 2, options);
      for (const size_t chunk : {5, 64}) {
        const Logits found = run_in_chunks(*two.engine, tokens, chunk, Role::kGenerated);
        for (size_t p = 0; p < wanted.size(); ++p) {
          ASSERT_TRUE(same_bits(found[p], wanted[p])) << kernels->isa << ' ' << name << ' ' << p;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(KvTypes, EveryKvType, ::testing::Values(KvType::kF16, KvType::kInt8),
                         [](const auto& info) { return std::string(kv_type_name(info.param)); });

// What is stored is the nearest multiple of the scale, of which 127 make the largest number.
TEST(Kv, int8_is_off_by_half_a_scale_at_most) {
  const Kernels& kernels = *available_kernels().front();
  const KvShape shape{.layers = 1, .kv_heads = 1, .head_size = 40, .type = KvType::kInt8};
  constexpr int64_t kSlot = 5;
  Rng rng(8);
  std::vector<float> x(40);
  for (float& number : x) number = static_cast<float>(rng.below(2001)) / 100 - 10;
  std::vector<std::byte> block(static_cast<size_t>(shape.block_bytes()));
  for (const bool is_key : {true, false}) {
    store_cached(kernels, shape, 0, 0, is_key, x.data(), kKvBlockTokens + kSlot, block.data());
    const int64_t columns = is_key ? 40 : 48;
    const std::byte* numbers =
        block.data() + (is_key ? shape.key_offset(0, 0) : shape.value_offset(0, 0));
    const float scale =
        f16_to_f32(reinterpret_cast<const uint16_t*>(numbers + 32 * columns)[kSlot]);
    EXPECT_LE(scale, 10.0f / 127 * 1.001f);
    for (int64_t i = 0; i < 40; ++i) {
      const std::byte quant = numbers[is_key ? i * 32 + kSlot : kSlot * columns + i];
      const float found = static_cast<float>(static_cast<int8_t>(quant)) * scale;
      EXPECT_NEAR(found, x[static_cast<size_t>(i)], scale * 0.51f) << i;
    }
  }
}

TEST(Kv, turned_heads_have_the_same_products_and_are_turned_back_by_another_turn) {
  for (const int64_t size : {1, 24, 64, 80, 96, 128, 256}) {
    Rng rng(9);
    std::vector<float> a(static_cast<size_t>(size)), b(a.size());
    for (float& number : a) number = static_cast<float>(rng.below(2001)) / 1000 - 1;
    for (float& number : b) number = static_cast<float>(rng.below(2001)) / 1000 - 1;
    a[0] = 100;
    const std::vector<float> before = a;
    const float product = std::inner_product(a.begin(), a.end(), b.begin(), 0.0f);
    turn_head(a.data(), size);
    turn_head(b.data(), size);
    EXPECT_NEAR(std::inner_product(a.begin(), a.end(), b.begin(), 0.0f), product, 1e-3f) << size;
    if (size >= 64) EXPECT_LT(*std::ranges::max_element(a), 60) << size;  // the outlier is spread
    turn_head(a.data(), size);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], before[i], 1e-4f) << size;
  }
}

// Feeds tokens[length .. end) and returns the last one's logits.
std::vector<float> feed_to(TinyEngine& tiny, Sequence& sequence, std::span<const Token> tokens,
                           Role role = Role::kPrompt) {
  CHECK(sequence.length() < std::ssize(tokens));
  while (sequence.length() < std::ssize(tokens)) {
    const std::span<const Token> rest = tokens.subspan(static_cast<size_t>(sequence.length()));
    const StepItem item{.sequence = &sequence,
                        .tokens = rest.first(std::min<size_t>(rest.size(), 64)),
                        .role = role,
                        .wants_logits = true};
    CHECK(tiny.engine->step({&item, 1}));
  }
  const std::span<float> row = tiny.engine->logits(0);
  return {row.begin(), row.end()};
}

TEST(Engine, forked_sequence_shares_blocks_and_continues_as_if_recomputed) {
  for (const char* name : {"llama-gqa", "gemma3"}) {
    TinyEngine tiny(name);
    const auto held = [&] { return tiny.budget.report().used[static_cast<size_t>(Tag::kKv)]; };
    std::vector<Token> first = random_tokens(*tiny.model, 60, 3);
    std::vector<Token> second;
    const std::vector<Token> tail = random_tokens(*tiny.model, 60, 4);
    for (const int64_t length : {1, 31, 32, 33, 50, 60}) {
      // The same beginning, then other tokens.
      second.assign(first.begin(), first.begin() + length);
      second.insert(second.end(), tail.begin(), tail.begin() + 10);
      std::vector<Token> longer = first;
      longer.insert(longer.end(), tail.begin() + 20, tail.begin() + 24);
      const std::vector<float> second_wanted = feed_to(tiny, *tiny.engine->open(), second);
      const std::vector<float> longer_wanted = feed_to(tiny, *tiny.engine->open(), longer);

      std::unique_ptr<Sequence> original = tiny.engine->open();
      feed_to(tiny, *original, first);
      const Bytes before = held();
      if (length < original->length_min()) {
        EXPECT_EQ(tiny.engine->fork(*original, length).error().code, Code::kInvalid);
        continue;
      }
      Result<std::unique_ptr<Sequence>> fork = tiny.engine->fork(*original, length);
      ASSERT_TRUE(fork);
      EXPECT_EQ((*fork)->length(), length);
      EXPECT_EQ(held(), before) << "shared blocks are charged once";
      EXPECT_TRUE(same_bits(feed_to(tiny, **fork, second), second_wanted)) << length;
      EXPECT_GT(held(), before);
      EXPECT_TRUE(same_bits(feed_to(tiny, *original, longer), longer_wanted)) << length;
      // The blocks that the other shares stay when their first owner goes.
      original.reset();
      second.push_back(tail.back());
      const std::vector<float> last_wanted = feed_to(tiny, *tiny.engine->open(), second);
      EXPECT_TRUE(same_bits(feed_to(tiny, **fork, second), last_wanted)) << length;
      fork->reset();
      EXPECT_EQ(held(), Bytes{0});
      EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
    }
  }
}

TEST(Engine, two_owners_of_a_partial_block_may_write_in_one_step_and_a_refusal_changes_neither) {
  TinyEngine tiny("llama-gqa");
  std::vector<Token> tokens = random_tokens(*tiny.model, 41, 5);
  const std::span<const Token> all = tokens;
  const std::vector<float> wanted = feed_to(tiny, *tiny.engine->open(), all);
  std::unique_ptr<Sequence> a = tiny.engine->open();
  feed_to(tiny, *a, all.first(40));
  std::unique_ptr<Sequence> b = std::move(*tiny.engine->fork(*a, 40));
  const std::array both{StepItem{.sequence = a.get(), .tokens = all.last(1), .wants_logits = true},
                        StepItem{.sequence = b.get(), .tokens = all.last(1), .wants_logits = true}};
  int calls = 0;
  tiny.budget.inject_failures([&](Tag tag, Bytes) { return tag == Tag::kKv && ++calls == 2; });
  const Bytes before = tiny.budget.report().used_total;
  EXPECT_EQ(tiny.engine->step(both).error().code, Code::kOverBudget);
  EXPECT_EQ(tiny.budget.report().used_total, before);
  ASSERT_TRUE(tiny.engine->step(both));
  for (const int64_t row : {0, 1}) {
    const std::span<float> found = tiny.engine->logits(row);
    EXPECT_TRUE(same_bits({found.begin(), found.end()}, wanted));
  }
}

TEST(Engine, sequence_knows_how_much_of_it_has_the_prompt_role) {
  TinyEngine tiny("llama-gqa");
  const std::vector<Token> tokens = random_tokens(*tiny.model, 60, 5);
  const std::span<const Token> all = tokens;
  const std::unique_ptr<Sequence> sequence = tiny.engine->open();
  feed_to(tiny, *sequence, all.first(20));
  feed_to(tiny, *sequence, all.first(40));
  EXPECT_EQ(sequence->prompt_length(), 40);
  feed_to(tiny, *sequence, all.first(45), Role::kGenerated);
  feed_to(tiny, *sequence, all.first(50));  // a prompt after an answer: not all of it
  EXPECT_EQ(sequence->prompt_length(), 40);
  EXPECT_EQ((*tiny.engine->fork(*sequence, 48))->prompt_length(), 40);
  EXPECT_EQ((*tiny.engine->fork(*sequence, 33))->prompt_length(), 33);
  sequence->truncate(35);
  feed_to(tiny, *sequence, all.first(50));
  EXPECT_EQ(sequence->prompt_length(), 50);
}

TEST(Engine, full_cache_refuses_the_step_and_changes_nothing) {
  TinyEngine tiny("llama-gqa", *available_kernels().front(), 1,
                  {.context = 192, .kv_tokens = 64, .step_tokens_max = 64, .logit_rows_max = 1});
  const std::vector<Token> tokens = random_tokens(*tiny.model, 64, 5);
  const std::unique_ptr<Sequence> first = tiny.engine->open();
  const std::unique_ptr<Sequence> second = tiny.engine->open();
  const StepItem fits{.sequence = first.get(), .tokens = std::span(tokens).first(33)};
  ASSERT_TRUE(tiny.engine->step({&fits, 1}));
  EXPECT_EQ(tiny.engine->kv_blocks_free(), 0);
  const Bytes used = tiny.budget.report().used_total;
  const std::array both{StepItem{.sequence = first.get(), .tokens = std::span(tokens).first(1)},
                        StepItem{.sequence = second.get(), .tokens = std::span(tokens).first(1)}};
  const Status refused = tiny.engine->step(both);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kOverBudget);
  EXPECT_TRUE(refused.error().shortfall);
  EXPECT_EQ(first->length(), 33);
  EXPECT_EQ(second->length(), 0);
  EXPECT_EQ(tiny.budget.report().used_total, used);
}

TEST(Engine, injected_refusal_in_mid_growth_gives_every_block_back) {
  TinyEngine tiny("llama-gqa");
  const std::vector<Token> tokens = random_tokens(*tiny.model, 64, 5);
  for (int fail_at = 1; fail_at <= 2; ++fail_at) {
    int calls = 0;
    tiny.budget.inject_failures(
        [&](Tag tag, Bytes) { return tag == Tag::kKv && ++calls == fail_at; });
    const std::unique_ptr<Sequence> sequence = tiny.engine->open();
    const StepItem item{.sequence = sequence.get(), .tokens = tokens};
    EXPECT_EQ(tiny.engine->step({&item, 1}).error().code, Code::kOverBudget);
    EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
    EXPECT_TRUE(tiny.engine->step({&item, 1}));
  }
}

TEST(Engine, token_outside_the_vocabulary_is_an_error) {
  TinyEngine tiny("llama-gqa");
  const std::unique_ptr<Sequence> sequence = tiny.engine->open();
  for (const Token bad : {-1, static_cast<Token>(tiny.model->network().vocabulary)}) {
    const StepItem item{.sequence = sequence.get(), .tokens = {&bad, 1}};
    EXPECT_EQ(tiny.engine->step({&item, 1}).error().code, Code::kInvalid);
  }
  EXPECT_EQ(sequence->length(), 0);
}

TEST(Engine, workspace_is_charged_as_promised_and_a_small_budget_refuses) {
  const std::shared_ptr<const Model> model = tiny_model("llama-gqa");
  const EngineOptions options{
      .context = 64, .kv_tokens = 64, .step_tokens_max = 16, .logit_rows_max = 1};
  const Kernels& kernels = *available_kernels().front();
  const Bytes wanted = Engine::workspace_bytes(model->network(), kernels, 1, options);
  Pool pool(1);
  Budget small("small", {.hard = wanted - Bytes{1}});
  const Result<std::unique_ptr<Engine>> refused =
      Engine::make(model, kernels, pool, small, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().shortfall->missing(), 1);
  Budget enough("enough", {.hard = wanted});
  const Result<std::unique_ptr<Engine>> made = Engine::make(model, kernels, pool, enough, options);
  ASSERT_TRUE(made);
  EXPECT_EQ(enough.report().used[static_cast<size_t>(Tag::kActivations)], wanted);
}

}  // namespace
}  // namespace ration
