#include <algorithm>
#include <numeric>

#include "run/speculate_lookup.h"
#include "run/speculate_pace.h"
#include "test/run/tiny_runner.h"

namespace ration {
namespace {

std::unique_ptr<PromptLookup> lookup_for(int64_t tokens, Budget& budget) {
  Result<std::unique_ptr<PromptLookup>> made = PromptLookup::make(tokens, budget);
  CHECK(made);
  return std::move(*made);
}

struct Looked {
  int64_t matched = 0;
  std::vector<Token> draft;
};

Looked look(PromptLookup& lookup, std::span<const Token> tokens, int64_t count_max) {
  Looked looked;
  looked.matched = lookup.propose(tokens, count_max, looked.draft);
  return looked;
}

// The same by trying every position.
Looked look_everywhere(std::span<const Token> tokens, int64_t count_max) {
  const auto size = static_cast<int64_t>(tokens.size());
  int64_t best = 1, source = -1;
  for (int64_t end = size - 2; end >= 1; --end) {
    int64_t length = 0;
    while (length <= end && length < PromptLookup::kMatchMax &&
           tokens[static_cast<size_t>(end - length)] ==
               tokens[static_cast<size_t>(size - 1 - length)]) {
      ++length;
    }
    if (length > best) {
      best = length;
      source = end;
    }
  }
  if (source < 0) return {};
  std::vector<Token> text(tokens.begin(), tokens.end());
  for (int64_t i = 1; i <= count_max; ++i) text.push_back(text[static_cast<size_t>(source + i)]);
  return {best, {text.begin() + size, text.end()}};
}

TEST(PromptLookup, finds_the_longest_match_and_the_newest_of_equals) {
  Budget budget("test", {.hard = Bytes{1 * kMiB}});
  const std::vector<Token> tokens{1, 2, 3, 10, 11, 2, 3, 20, 21, 9, 2, 3, 30, 31, 1, 2, 3};
  const Looked longest = look(*lookup_for(64, budget), tokens, 2);
  EXPECT_EQ(longest.matched, 3);
  EXPECT_EQ(longest.draft, (std::vector<Token>{10, 11}));
  const std::vector<Token> without_first(tokens.begin() + 1, tokens.end());
  const Looked newest = look(*lookup_for(64, budget), without_first, 2);
  EXPECT_EQ(newest.matched, 2);
  EXPECT_EQ(newest.draft, (std::vector<Token>{30, 31}));
}

TEST(PromptLookup, goes_on_with_a_repetition_that_reaches_the_end) {
  Budget budget("test", {.hard = Bytes{1 * kMiB}});
  const std::vector<Token> tokens{5, 6, 7, 5, 6, 7, 5, 6};
  EXPECT_EQ(look(*lookup_for(64, budget), tokens, 7).draft,
            (std::vector<Token>{7, 5, 6, 7, 5, 6, 7}));
}

TEST(PromptLookup, guesses_nothing_from_one_token_or_none) {
  Budget budget("test", {.hard = Bytes{1 * kMiB}});
  const std::vector<std::vector<Token>> texts{{}, {1}, {1, 1}, {1, 2, 1}, {1, 2, 3, 4, 3}};
  for (const std::vector<Token>& tokens : texts) {
    const Looked looked = look(*lookup_for(64, budget), tokens, 4);
    EXPECT_EQ(looked.matched, 0) << tokens.size();
    EXPECT_TRUE(looked.draft.empty());
  }
  EXPECT_EQ(look(*lookup_for(64, budget), std::vector<Token>{1, 2, 1, 2}, 0).matched, 0);
}

TEST(PromptLookup, agrees_with_a_search_of_every_position_while_the_text_grows) {
  Budget budget("test", {.hard = Bytes{1 * kMiB}});
  Rng rng(11);
  for (int round = 0; round < 20; ++round) {
    const auto lookup = lookup_for(400, budget);
    std::vector<Token> tokens;
    while (tokens.size() < 400) {
      const auto more = 1 + rng.below(4);  // several tokens at a time, as accepted drafts come
      for (uint64_t i = 0; i < more; ++i) tokens.push_back(static_cast<Token>(rng.below(6)));
      const Looked found = look(*lookup, tokens, 5), wanted = look_everywhere(tokens, 5);
      ASSERT_EQ(found.matched, wanted.matched) << tokens.size();
      ASSERT_EQ(found.draft, wanted.draft) << tokens.size();
    }
  }
}

TEST(PromptLookup, takes_bounded_memory_from_the_budget_and_forgets_what_is_far) {
  Budget budget("test", {.hard = Bytes{1 * kMiB}});
  const Bytes most = PromptLookup::bytes(int64_t{1} << 31);
  EXPECT_LE(most, Bytes{256 * kKiB});
  const auto lookup = lookup_for(int64_t{1} << 31, budget);
  EXPECT_EQ(budget.report().used[static_cast<size_t>(Tag::kScratch)], most);
  std::vector<Token> tokens{7, 8, 9};
  for (Token filler = 100; filler < 100 + 16'000; ++filler) tokens.push_back(filler);
  tokens.insert(tokens.end(), {7, 8});
  EXPECT_EQ(look(*lookup, tokens, 1).draft, (std::vector<Token>{9}));
  for (Token filler = 20'000; filler < 20'000 + 16'000; ++filler) tokens.push_back(filler);
  tokens.insert(tokens.end(), {8, 9});  // only the very first ones are 8, 9
  EXPECT_EQ(look(*lookup, tokens, 1).matched, 0);
  Budget small("test", {.hard = Bytes{1000}});
  EXPECT_EQ(PromptLookup::make(4096, small).error().code, Code::kOverBudget);
}

// ------------------------------------------------------------------------------------------ pace

// One answer whose guesses stand on so much.
int64_t best_length(const StepCosts& costs, const Acceptance& acceptance, int64_t matched,
                    int64_t most = 15) {
  const Proposal proposal{.tokens = most, .matched = matched, .acceptance = &acceptance};
  return draft_lengths(costs, 1, {&proposal, 1}, most)[0];
}

StepCosts costs_of(const std::function<double(int64_t)>& millis) {
  StepCosts costs(16);
  for (int round = 0; round < 20; ++round) {
    for (int64_t tokens = 1; tokens <= 16; ++tokens) {
      costs.observe(tokens, Millis{millis(tokens)});
    }
  }
  return costs;
}

TEST(Pace, drafts_what_pays_and_nothing_where_none_does) {
  Acceptance sure, never;
  for (int i = 0; i < 100; ++i) {
    for (const int64_t matched : {2, 3, 4, 8, 16}) {
      sure.observe(matched, true);
      never.observe(matched, false);
    }
  }
  const StepCosts cheap = costs_of([](int64_t n) { return 10.0 + static_cast<double>(n); });
  EXPECT_EQ(best_length(cheap, sure, 16), 15);
  EXPECT_EQ(best_length(cheap, never, 16), 0);
  // No step is cheaper a token than one of one token.
  const StepCosts fair = costs_of([](int64_t n) { return 10.0 * static_cast<double>(n); });
  EXPECT_EQ(best_length(fair, sure, 16), 0);
  // Four tokens share what the fifth pays again.
  const StepCosts stairs =
      costs_of([](int64_t n) { return 10.0 * static_cast<double>((n + 3) / 4); });
  Acceptance mostly = sure;
  for (int i = 0; i < 400; ++i) mostly.observe(4, i % 4 != 0);
  EXPECT_EQ(best_length(stairs, mostly, 4, 3), 3);
  EXPECT_EQ(best_length(stairs, sure, 16) % 4, 3);
}

TEST(Pace, picks_the_length_with_the_most_expected_tokens_a_second) {
  Rng rng(5);
  for (int round = 0; round < 200; ++round) {
    Acceptance acceptance;
    for (int i = 0; i < 40; ++i) {
      acceptance.observe(static_cast<int64_t>(2 + rng.below(20)), rng.below(3) > 0);
    }
    const double base = 1 + 20 * rng.uniform();
    const StepCosts costs = costs_of([&](int64_t n) { return base + static_cast<double>(n); });
    const auto matched = static_cast<int64_t>(2 + rng.below(16));
    double reach = 1, expected = 1, best_rate = 1 / costs.of(1);
    int64_t best = 0;
    for (int64_t length = 1; length <= 15; ++length) {
      reach *= acceptance.chance(matched + length - 1);
      expected += reach;
      if (expected / costs.of(1 + length) > best_rate) {
        best_rate = expected / costs.of(1 + length);
        best = length;
      }
    }
    EXPECT_EQ(best_length(costs, acceptance, matched), best) << round;
  }
}

TEST(Pace, shares_the_rows_among_answers_by_their_chances) {
  Acceptance good, bad;
  for (int i = 0; i < 100; ++i) {
    good.observe(16, true);
    bad.observe(16, i % 3 == 0);
  }
  const StepCosts costs = costs_of([](int64_t n) { return 100.0 + static_cast<double>(n); });
  const std::vector<Proposal> proposals{{.tokens = 8, .matched = 16, .acceptance = &bad},
                                        {.tokens = 4, .matched = 16, .acceptance = &good},
                                        {.tokens = 0, .matched = 0, .acceptance = &good}};
  const std::vector<int64_t> lengths = draft_lengths(costs, 3, proposals, 6);
  EXPECT_EQ(lengths, (std::vector<int64_t>{2, 4, 0}));
  EXPECT_EQ(draft_lengths(costs, 3, proposals, 0), (std::vector<int64_t>{0, 0, 0}));
}

TEST(Pace, costs_follow_what_is_seen_and_one_bad_step_is_not_for_ever) {
  StepCosts costs(16);
  EXPECT_GT(costs.of(4), costs.of(1));
  EXPECT_LT(costs.of(4), 4 * costs.of(1));
  costs.observe(1, Millis{0});  // a clock that stands still
  EXPECT_EQ(costs.of(1), StepCosts(16).of(1));
  costs.observe(1, Millis{10});
  // As a mixture of experts would.
  for (int i = 0; i < 20; ++i) costs.observe(4, Millis{40});
  EXPECT_NEAR(costs.of(4) / costs.of(1), 4, 0.1);
  EXPECT_GT(costs.of(5), costs.of(4));
  for (int i = 0; i < 1000; ++i) costs.observe(1, Millis{10});
  EXPECT_LT(costs.of(4) / costs.of(1), 2);  // worth another try
  StepCosts steady = costs_of([](int64_t n) { return 10.0 + static_cast<double>(n); });
  const double before = steady.of(4);
  steady.observe(4, Millis{10'000});  // the machine was away
  EXPECT_LT(steady.of(4), 1.3 * before);
}

// Text without repetition must not be slowed: guesses that are not run cost nothing to observe.
TEST(Pace, stops_drafting_where_nothing_comes_true_and_resumes_where_it_does) {
  const StepCosts costs = costs_of([](int64_t n) { return 10.0 + 2 * static_cast<double>(n); });
  Acceptance acceptance;
  int64_t drafted = 0;
  for (int step = 0; step < 500; ++step) {
    drafted += best_length(costs, acceptance, 2);
    acceptance.observe(2, false);
  }
  EXPECT_LE(drafted, 10);
  for (int step = 0; step < 20; ++step) acceptance.observe(2, true);
  EXPECT_GE(best_length(costs, acceptance, 2), 1);
}

// ---------------------------------------------------------------------------------------- runner

constexpr EngineOptions kRoomy{.context = 160,
                               .kv_tokens = 160 * 4,
                               .step_tokens_max = 32,
                               .logit_rows_max = 4 + kDraftTokensMax};
constexpr EngineOptions kTight{
    .context = 160, .kv_tokens = 192, .step_tokens_max = 32, .logit_rows_max = 4 + kDraftTokensMax};
constexpr RunnerOptions kPlain{};
constexpr RunnerOptions kSpeculating{.draft_rows = kDraftTokensMax};

// One thread: what threads do to results is the engine's test.
struct OneThread : TinyRunner {
  OneThread(EngineOptions engine, RunnerOptions how, const std::string& name = "llama-gqa",
            const Kernels& kernels = *available_kernels().front())
      : TinyRunner(engine, how, name, kernels, 1) {}
};

// A prompt that says everything twice, so that there is something to guess.
std::vector<Token> echoing_prompt(const Model& model, uint64_t seed) {
  std::vector<Token> prompt = random_tokens(model, 12 + static_cast<int64_t>(seed % 5), seed);
  prompt.insert(prompt.end(), prompt.begin(), prompt.end() - 2);
  return prompt;
}

// Greedy, and every option that changes what is drawn.
SamplerOptions sampler_of(uint64_t seed) {
  SamplerOptions options{.temperature = 0, .seed = seed};
  if (seed % 4 == 1) options.temperature = 0.8f;
  if (seed % 4 == 2) {
    options.temperature = 1.0f;
    options.top_k = 8;
    options.top_p = 0.95f;
    options.top_logprobs = 3;
  }
  if (seed % 4 == 3) {
    options.repetition_penalty = 1.05f;
    options.presence_penalty = 0.05f;
    options.frequency_penalty = 0.02f;
    options.logit_bias = {{3, -100.0f}, {5, 1.0f}};
  }
  return options;
}

struct Said {
  std::vector<Recorder> answers;
  DraftCount drafts;
};

Said say(TinyRunner& tiny, uint64_t answers, const std::function<void(Request&)>& change = {}) {
  Said said{.answers = std::vector<Recorder>(answers)};
  for (uint64_t i = 0; i < answers; ++i) {
    Request request = tiny.request(i, 1, 60);
    request.prompt = echoing_prompt(*tiny.model, i + 1);
    request.sampler = sampler_of(i);
    if (change) change(request);
    CHECK(tiny.runner.submit(std::move(request), said.answers[i]));
  }
  tiny.run_all();
  for (const Recorder& answer : said.answers) {
    if (!answer.finish.bill.drafts) continue;
    said.drafts.drafted += answer.finish.bill.drafts->drafted;
    said.drafts.accepted += answer.finish.bill.drafts->accepted;
  }
  EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
  return said;
}

void expect_same(const Said& found, const Said& wanted) {
  ASSERT_EQ(found.answers.size(), wanted.answers.size());
  for (size_t i = 0; i < found.answers.size(); ++i) {
    const Recorder &a = found.answers[i], &b = wanted.answers[i];
    EXPECT_EQ(a.tokens, b.tokens) << i;
    EXPECT_EQ(a.logprobs, b.logprobs) << i;
    EXPECT_EQ(a.text, b.text) << i;
    EXPECT_EQ(a.finishes, 1) << i;
    EXPECT_EQ(a.finish.reason, b.finish.reason) << i;
    EXPECT_EQ(a.finish.bill.stop_cause, b.finish.bill.stop_cause) << i;
    EXPECT_EQ(a.finish.bill.generated_tokens, b.finish.bill.generated_tokens) << i;
  }
}

TEST(Speculation, answers_are_those_without_it_for_every_kernel_set_and_family) {
  DraftCount drafts;
  for (const char* name : {"llama-gqa", "gemma3", "qwen2-yarn", "phi3-partial"}) {
    for (const Kernels* kernels : available_kernels()) {
      OneThread plain(kRoomy, kPlain, name, *kernels);
      OneThread speculating(kRoomy, kSpeculating, name, *kernels);
      const Said wanted = say(plain, 6), found = say(speculating, 6);
      expect_same(found, wanted);
      EXPECT_GT(found.drafts.accepted, 20) << name << " " << kernels->isa;
      drafts.drafted += found.drafts.drafted;
      drafts.accepted += found.drafts.accepted;
      EXPECT_FALSE(wanted.answers[0].finish.bill.drafts);
    }
  }
  EXPECT_GT(drafts.drafted - drafts.accepted, 20) << "wrong guesses are part of the test";
}

TEST(Speculation, an_answer_alone_takes_fewer_steps) {
  const auto steps_of = [](RunnerOptions options) {
    OneThread tiny(kRoomy, options);
    Recorder recorder;
    Request request = tiny.request(0, 1, 90);
    request.prompt = echoing_prompt(*tiny.model, 1);
    request.sampler.temperature = 0;
    CHECK(tiny.runner.submit(std::move(request), recorder));
    int64_t steps = 0;
    while (tiny.runner.step()) ++steps;
    const auto& drafts = recorder.finish.bill.drafts;
    if (drafts) EXPECT_EQ(steps + drafts->accepted, 90);
    return steps;
  };
  EXPECT_LT(steps_of(kSpeculating), steps_of(kPlain) * 2 / 3);
}

TEST(Speculation, answers_that_step_back_or_run_out_of_memory_are_those_without_it) {
  OneThread plain(kTight, kPlain), speculating(kTight, kSpeculating);
  const auto longer = [](Request& request) { request.tokens_max = 300; };
  const Said wanted = say(plain, 3, longer), found = say(speculating, 3, longer);
  expect_same(found, wanted);
  EXPECT_GT(found.drafts.accepted, 0);
}

TEST(Speculation, limits_hold_at_every_number_of_tokens) {
  for (int64_t most = 0; most <= 12; ++most) {
    OneThread plain(kRoomy, kPlain), speculating(kRoomy, kSpeculating);
    const auto limit = [&](Request& request) { request.tokens_max = most; };
    expect_same(say(speculating, 2, limit), say(plain, 2, limit));
  }
  const auto without = [](Request& request) { request.tokens_max = std::nullopt; };
  OneThread plain(kRoomy, kPlain), speculating(kRoomy, kSpeculating);
  const Said found = say(speculating, 4, without);
  expect_same(found, say(plain, 4, without));
  EXPECT_EQ(found.answers[0].finish.bill.stop_cause, "context");
}

TEST(Speculation, stop_strings_and_end_tokens_end_an_answer_at_the_same_byte) {
  OneThread whole(kRoomy, kPlain);
  const Said uncut = say(whole, 4);
  const std::string stop = uncut.answers[0].text.substr(uncut.answers[0].text.size() / 2, 2);
  const auto cut = [&](Request& request) {
    request.stops = {stop};
    request.ignore_end = false;
  };
  OneThread plain(kRoomy, kPlain), speculating(kRoomy, kSpeculating);
  const Said found = say(speculating, 4, cut);
  expect_same(found, say(plain, 4, cut));
  EXPECT_LT(found.answers[0].tokens.size(), uncut.answers[0].tokens.size());
}

TEST(Speculation, cancel_and_deadline_take_effect_within_a_draft) {
  for (int64_t at = 1; at <= 20; ++at) {
    OneThread tiny(kRoomy, kSpeculating);
    Recorder recorder;
    Request request = tiny.request(0, 1, 90);
    request.prompt = echoing_prompt(*tiny.model, 1);
    request.sampler.temperature = 0;
    const bool by_clock = at % 2 == 0;
    if (by_clock) request.deadline = Millis{10.0 * static_cast<double>(at)};
    RequestId id = 0;
    recorder.on_each = [&](int64_t count) {
      tiny.clock.advance(Millis{10});
      if (!by_clock && count == at) tiny.runner.cancel(id);
    };
    id = *tiny.runner.submit(std::move(request), recorder);
    tiny.run_all();
    EXPECT_EQ(static_cast<int64_t>(recorder.tokens.size()), at);
    EXPECT_EQ(recorder.finish.bill.stop_cause, by_clock ? "deadline" : "cancelled");
  }
}

// A draft model that is the model itself is always right; another of the same vocabulary rarely.
TEST(Speculation, answers_with_a_draft_model_are_those_without_it) {
  for (const char* name : {"qwen2", "qwen3-tied"}) {
    OneThread plain(kRoomy, kPlain, "qwen2");
    TinyEngine draft(name, *available_kernels().front(), 1,
                     {.context = 100, .kv_tokens = 128, .step_tokens_max = 16});
    const RunnerOptions how{.draft_rows = kDraftTokensMax, .draft_engine = draft.engine.get()};
    OneThread speculating(kRoomy, how, "qwen2");
    const auto unlike = [&](Request& request) {  // nothing to copy
      request.prompt = random_tokens(*plain.model, 20, request.sampler.seed + 50);
    };
    const Said wanted = say(plain, 4, unlike), found = say(speculating, 4, unlike);
    expect_same(found, wanted);
    EXPECT_GT(found.drafts.accepted, 0) << name;
    EXPECT_GT(found.drafts.drafted, found.drafts.accepted) << name;
    EXPECT_EQ(draft.engine->kv_blocks_free(), draft.engine->kv_blocks_max()) << name;
  }
}

TEST(DraftModel, writes_what_its_model_would_and_reads_on_where_the_answer_parted) {
  TinyEngine tiny("llama-gqa", *available_kernels().front(), 1);
  std::vector<Token> tokens = random_tokens(*tiny.model, 40, 3);
  DraftModel kept(*tiny.engine);
  for (int round = 0; round < 6; ++round) {
    std::vector<Token> draft, fresh_draft;
    DraftModel fresh(*tiny.engine);
    kept.propose(tokens, 4, draft);
    fresh.propose(tokens, 4, fresh_draft);
    ASSERT_EQ(draft.size(), 4u);
    EXPECT_EQ(draft.front(), fresh_draft.front()) << round;
    tokens.push_back(draft[0]);
    if (round % 2 == 0) tokens.push_back((draft[1] + 1) % 50);
  }
  std::vector<Token> none;
  kept.propose(random_tokens(*tiny.model, 192, 4), 2, none);  // beyond its context
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
}

TEST(DraftModel, another_vocabulary_is_refused_with_both_named) {
  const auto model = tiny_model("qwen2"), same = tiny_model("qwen3-tied"),
             other = tiny_model("gemma3");
  EXPECT_TRUE(check_same_vocabulary("large", *model, "small", *same));
  const Status refused = check_same_vocabulary("large", *model, "small", *other);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("small cannot draft for large"), std::string::npos);
}

TEST(Pace, a_draft_model_must_pay_for_what_it_writes_and_is_tried_again) {
  const StepCosts costs = costs_of([](int64_t n) { return 10.0 + 2 * static_cast<double>(n); });
  Acceptance acceptance;
  for (int i = 0; i < 50; ++i) acceptance.observe_model(true);
  const auto length_at = [&](double share) {
    const Proposal proposal{.tokens = 8, .acceptance = &acceptance, .share_each = share};
    return draft_lengths(costs, 1, {&proposal, 1}, 8)[0];
  };
  EXPECT_EQ(length_at(0.1), 8);
  EXPECT_EQ(length_at(1.0), 0);
  for (int i = 0; i < 50; ++i) acceptance.observe_model(false);
  EXPECT_EQ(length_at(0.1), 0);
  for (int i = 0; i < 1000; ++i) acceptance.skip_model();
  EXPECT_GT(length_at(0.1), 0);
}

TEST(Speculation, without_memory_for_its_index_answers_come_all_the_same) {
  OneThread plain(kRoomy, kPlain), speculating(kRoomy, kSpeculating);
  speculating.budget.inject_failures([](Tag tag, Bytes) { return tag == Tag::kScratch; });
  const Said found = say(speculating, 4);
  expect_same(found, say(plain, 4));
  EXPECT_FALSE(found.answers[0].finish.bill.drafts);
}

}  // namespace
}  // namespace ration
