#include "run/prefix_cache.h"

#include <array>
#include <map>

#include "test/run/tiny_runner.h"

namespace ration {
namespace {

constexpr Bytes kAll{int64_t{1} << 40};
constexpr EngineOptions kRoomy{
    .context = 160, .kv_tokens = 160 * 16, .step_tokens_max = 32, .logit_rows_max = 4};

void run(TinyRunner& tiny, Request request, Recorder& recorder) {
  ASSERT_TRUE(tiny.runner.submit(std::move(request), recorder));
  tiny.run_all();
  ASSERT_EQ(recorder.finishes, 1);
  ASSERT_FALSE(recorder.finish.error) << recorder.finish.error->message;
}

void expect_same(const Recorder& found, const Recorder& wanted) {
  EXPECT_EQ(found.tokens, wanted.tokens);
  EXPECT_EQ(found.logprobs, wanted.logprobs);  // to the bit
  EXPECT_EQ(found.text, wanted.text);
}

// Windowed layers (gemma3) too, whose answers outlive the window.
TEST(PrefixCache, prompts_that_alternate_recompute_their_last_token_only) {
  for (const char* name : {"llama-gqa", "gemma3"}) {
    TinyRunner tiny(kRoomy, {.prefix_bytes = kAll}, name);
    std::array<Recorder, 8> first;
    for (uint64_t i = 0; i < 8; ++i) {
      run(tiny, tiny.request(i + 1, 50 + 9 * static_cast<int64_t>(i), 20), first[i]);
      EXPECT_EQ(first[i].finish.bill.cached_tokens, 0);
    }
    for (uint64_t i = 0; i < 8; ++i) {
      const int64_t prompt = 50 + 9 * static_cast<int64_t>(i);
      Recorder again;
      run(tiny, tiny.request(i + 1, prompt, 20), again);
      EXPECT_EQ(again.finish.bill.cached_tokens, prompt - 1) << name;
      EXPECT_EQ(again.finish.bill.prompt_tokens, prompt);
      expect_same(again, first[i]);
    }
  }
}

TEST(PrefixCache, the_next_turn_takes_over_the_prompt_and_the_answer) {
  for (const bool reproducible : {false, true}) {
    TinyRunner tiny(kRoomy, {.prefix_bytes = kAll, .reproducible = reproducible});
    Recorder first;
    run(tiny, tiny.request(1, 45, 30), first);
    Request next = tiny.request(2, 12, 20);
    std::vector<Token> prompt = tiny.request(1, 45, 0).prompt;
    prompt.insert(prompt.end(), first.tokens.begin(), first.tokens.end());
    prompt.insert(prompt.end(), next.prompt.begin(), next.prompt.end());
    next.prompt = prompt;
    const Request same = next;
    Recorder second;
    run(tiny, std::move(next), second);
    // The answer's newest token was never run.
    EXPECT_EQ(second.finish.bill.cached_tokens, reproducible ? 45 : 45 + 29);
    if (!reproducible) continue;
    TinyRunner fresh(kRoomy);
    Recorder alone;
    run(fresh, same, alone);
    expect_same(second, alone);
  }
}

TEST(PrefixCache, answers_that_begin_alike_share_what_the_first_has_done_so_far) {
  TinyRunner alone(kRoomy);
  Recorder wanted;
  run(alone, alone.request(1, 120, 20), wanted);
  TinyRunner tiny(kRoomy, {.prefix_bytes = kAll});
  std::array<Recorder, 3> answers;
  for (Recorder& answer : answers) {
    ASSERT_TRUE(tiny.runner.submit(tiny.request(1, 120, 20), answer));
  }
  tiny.run_all();
  for (const Recorder& answer : answers) expect_same(answer, wanted);
  EXPECT_EQ(answers[0].finish.bill.cached_tokens, 0);
  EXPECT_GE(answers[1].finish.bill.cached_tokens, 96);
  EXPECT_GE(answers[2].finish.bill.cached_tokens, 96);
}

TEST(PrefixCache, texts_of_another_key_do_not_exist_unless_they_are_shared) {
  for (const bool shared : {false, true}) {
    TinyRunner tiny(kRoomy, {.prefix_bytes = kAll, .share_prefixes = shared});
    Request request = tiny.request(1, 60, 4);
    request.key = "a";
    Recorder mine, theirs, mine_again;
    run(tiny, request, mine);
    request.key = "b";
    run(tiny, request, theirs);
    EXPECT_EQ(theirs.finish.bill.cached_tokens, shared ? 59 : 0);
    request.key = "a";
    run(tiny, request, mine_again);
    EXPECT_EQ(mine_again.finish.bill.cached_tokens, 59);
  }
}

// Six blocks for answers of five: what is kept must go, and answers must step back as if it were
// not there.
TEST(PrefixCache, kept_texts_are_the_first_to_go) {
  std::array<Recorder, 3> wanted;
  for (uint64_t i = 0; i < 3; ++i) {
    TinyRunner alone(kRoomy);
    run(alone, alone.request(i + 1, 30, 100), wanted[i]);
  }
  for (const int64_t tokens : {192, 320}) {
    TinyRunner tiny(
        {.context = 160, .kv_tokens = tokens, .step_tokens_max = 32, .logit_rows_max = 4},
        {.draft_rows = 1, .prefix_bytes = kAll});
    for (int round = 0; round < 2; ++round) {
      std::array<Recorder, 3> together;
      for (uint64_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(tiny.runner.submit(tiny.request(i + 1, 30, 100), together[i]));
      }
      tiny.run_all();
      for (size_t i = 0; i < 3; ++i) {
        expect_same(together[i], wanted[i]);
        EXPECT_EQ(together[i].finish.bill.stop_cause, "tokens");
      }
    }
    // Nothing is written: all that is taken is kept.
    EXPECT_GT(tiny.engine->kv_blocks_spare(), 0);
    EXPECT_EQ(tiny.engine->kv_blocks_spare() + tiny.engine->kv_blocks_free(),
              tiny.engine->kv_blocks_max());
  }
}

TEST(PrefixCache, holds_no_more_than_its_bytes_and_drops_what_was_not_used_for_longest) {
  TinyEngine tiny("llama-gqa");
  std::map<uint64_t, std::vector<Token>> texts;
  const auto computed = [&](std::span<const Token> tokens) {
    std::unique_ptr<Sequence> sequence = tiny.engine->open();
    while (sequence->length() < std::ssize(tokens)) {
      const auto rest = tokens.subspan(static_cast<size_t>(sequence->length()));
      const StepItem item{.sequence = sequence.get(),
                          .tokens = rest.first(std::min<size_t>(rest.size(), 64))};
      CHECK(tiny.engine->step({&item, 1}));
    }
    return sequence;
  };
  for (uint64_t i = 0; i < 4; ++i) texts[i] = random_tokens(*tiny.model, 96, i + 1);
  std::unique_ptr<Sequence> one = computed(std::span(texts[0]).first(32));
  const Bytes one_block = tiny.engine->kv_bytes_used();
  one.reset();
  {
    PrefixCache cache(*tiny.engine, tiny.budget, one_block * 6);
    const auto kept_of = [&](uint64_t i) -> int64_t {
      std::vector<Token> longer = texts[i];
      longer.push_back(0);
      const auto found = cache.find({.tokens = longer, .prompt = 97}, {});
      return found ? found->length() : 0;
    };
    cache.keep(computed(texts[0]), texts[0], "");
    cache.keep(computed(texts[1]), texts[1], "");
    EXPECT_EQ(tiny.engine->kv_bytes_spare(), one_block * 6);
    const auto charged = [&](Tag tag) {
      return tiny.budget.report().used[static_cast<size_t>(tag)];
    };
    EXPECT_EQ(charged(Tag::kKv), Bytes{0});
    EXPECT_GE(charged(Tag::kPrefix), one_block * 6);
    EXPECT_EQ(kept_of(0), 96);  // now the first is the one used last
    cache.keep(computed(std::span(texts[2]).first(64)), texts[2], "");
    EXPECT_EQ(tiny.engine->kv_bytes_spare(), one_block * 6);
    EXPECT_EQ(kept_of(1), 32);  // it lost its end
    EXPECT_EQ(kept_of(0), 96);
    EXPECT_EQ(kept_of(2), 64);
    // What somebody shares is not given back by dropping it.
    const auto shared = cache.find({.tokens = texts[2], .prompt = 96}, {});
    EXPECT_EQ(tiny.engine->kv_bytes_spare(), one_block * 4);
    EXPECT_EQ(charged(Tag::kKv), one_block * 2);
    while (cache.shrink()) {
    }
    EXPECT_EQ(tiny.engine->kv_bytes_used(), one_block * 2);
    EXPECT_EQ(cache.texts(), 1);
  }
  EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
  EXPECT_EQ(tiny.budget.report().used[static_cast<size_t>(Tag::kPrefix)], Bytes{0});
}

// A text whose roles are prompt, generated, prompt: what of it which answers may take over.
TEST(PrefixCache, roles_are_kept_apart) {
  TinyEngine tiny("llama-gqa");
  const std::vector<Token> tokens = random_tokens(*tiny.model, 50, 1);
  const std::unique_ptr<Sequence> sequence = tiny.engine->open();
  for (const auto& [begin, end, role] :
       {std::tuple{0, 20, Role::kPrompt}, {20, 35, Role::kGenerated}, {35, 50, Role::kPrompt}}) {
    const StepItem item{.sequence = sequence.get(),
                        .tokens = {tokens.data() + begin, static_cast<size_t>(end - begin)},
                        .role = role};
    ASSERT_TRUE(tiny.engine->step({&item, 1}));
  }
  const KnownText known = PrefixSource{tokens, sequence.get(), "me"}.known();
  const auto length = [&](int64_t prompt, bool prompt_only, std::string_view owner = "me") {
    return reusable_length(
        {.tokens = tokens, .prompt = prompt, .owner = owner, .prompt_only = prompt_only}, known);
  };
  EXPECT_EQ(length(50, false), 49);
  EXPECT_EQ(length(50, true), 20);
  EXPECT_EQ(length(50, false, "you"), 0);
  // An answer to the first 20 that was generated up to here takes over what was generated then.
  EXPECT_EQ(length(20, false), 35);
  EXPECT_EQ(length(20, true), 35);
  // One that generated the last part may not: here it is a prompt's.
  EXPECT_EQ(length(40, false), 40);
  EXPECT_EQ(length(10, false), 10);
}

}  // namespace
}  // namespace ration
