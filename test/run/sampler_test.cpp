#include "run/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

namespace ration {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_logits(Rng& rng, int32_t count, float spread) {
  std::vector<float> logits(static_cast<size_t>(count));
  for (float& logit : logits) logit = static_cast<float>((rng.uniform() - 0.5) * 2) * spread;
  return logits;
}

Result<Choice> choose_once(const SamplerOptions& options, std::vector<float> logits) {
  Sampler sampler(options, static_cast<int32_t>(logits.size()), {});
  return sampler.choose(logits);
}

// All ids, the most likely first; of equals the lowest.
std::vector<size_t> ranked(const std::vector<float>& logits) {
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  return order;
}

// The definition, in double and with a full sort: the probability of each token.
std::vector<double> expected_probabilities(const std::vector<float>& logits,
                                           const SamplerOptions& options) {
  std::vector<size_t> order = ranked(logits);
  if (options.top_k > 0 && static_cast<size_t>(options.top_k) < order.size()) {
    order.resize(static_cast<size_t>(options.top_k));
  }
  const auto weight = [&](size_t token) {
    return std::exp((static_cast<double>(logits[token]) - static_cast<double>(logits[order[0]])) /
                    static_cast<double>(options.temperature));
  };
  double total = 0;
  for (const size_t token : order) total += weight(token);
  std::vector<double> out(logits.size(), 0.0);
  double held = 0;
  double kept = 0;
  for (const size_t token : order) {
    if (held > 0 && held >= static_cast<double>(options.top_p) * total) break;
    held += weight(token);
    if (weight(token) < static_cast<double>(options.min_p)) continue;
    out[token] = weight(token);
    kept += weight(token);
  }
  for (double& probability : out) probability /= kept;
  return out;
}

std::vector<int> draw_counts(const std::vector<float>& logits, const SamplerOptions& options,
                             int draws) {
  Sampler sampler(options, static_cast<int32_t>(logits.size()), {});
  std::vector<int> counts(logits.size());
  std::vector<float> scratch;
  for (int i = 0; i < draws; ++i) {
    scratch = logits;
    const Result<Choice> choice = sampler.choose(scratch);
    EXPECT_TRUE(choice);
    ++counts[static_cast<size_t>(choice->token)];
  }
  return counts;
}

// Pearson's statistic over tokens expected at least 10 times, the rest in one bin. Its mean is the
// degrees of freedom d and its deviation sqrt(2 d); 6 deviations and a little for the long tail at
// small d: a right sampler fails once in about 10^7 seeds, and the seeds here are fixed.
void expect_distribution(const std::vector<float>& logits, const SamplerOptions& options,
                         int draws = 100'000) {
  const std::vector<double> wanted = expected_probabilities(logits, options);
  const std::vector<int> counts = draw_counts(logits, options, draws);
  double statistic = 0;
  double degrees = -1;
  double rest_wanted = 0;
  double rest_found = 0;
  const auto add = [&](double found, double expected) {
    statistic += (found - expected) * (found - expected) / expected;
    ++degrees;
  };
  for (size_t token = 0; token < logits.size(); ++token) {
    const double expected = wanted[token] * draws;
    if (expected == 0)
      EXPECT_EQ(counts[token], 0) << "token " << token << " is outside the support";
    if (expected >= 10) {
      add(counts[token], expected);
    } else {
      rest_wanted += expected;
      rest_found += counts[token];
    }
  }
  if (rest_wanted >= 10) add(rest_found, rest_wanted);
  EXPECT_LE(statistic, degrees + 6 * std::sqrt(2 * std::max(degrees, 1.0)) + 10) << degrees;
}

TEST(Sampler, takes_the_best_token_and_of_equals_the_lowest_when_greedy) {
  Rng rng(1);
  for (const int32_t vocabulary : {1, 2, 15, 17, 1023, 1024, 1025, 5000}) {
    std::vector<float> logits = random_logits(rng, vocabulary, 5);
    const auto best = std::max_element(logits.begin(), logits.end());
    const auto wanted = static_cast<Token>(best - logits.begin());
    for (size_t i = static_cast<size_t>(wanted) + 1; i < logits.size(); i += 3) logits[i] = *best;
    EXPECT_EQ(choose_once({.temperature = 0}, logits)->token, wanted);
    // A bias on some token takes the other way through the code; the answer is the same.
    EXPECT_EQ(
        choose_once({.temperature = 0, .logit_bias = {{vocabulary - 1, 0.0f}}}, logits)->token,
        wanted);
    EXPECT_EQ(choose_once({.top_k = 1}, logits)->token, wanted);
    EXPECT_EQ(choose_once({.top_p = 0}, logits)->token, wanted);
  }
}

TEST(Sampler, reports_log_probabilities_of_the_model_itself) {
  Rng rng(2);
  for (const int32_t vocabulary : {1, 3, 100, 1025, 40000}) {
    for (const float spread : {0.0f, 1.0f, 30.0f, 1000.0f}) {
      const std::vector<float> logits = random_logits(rng, vocabulary, spread);
      double sum = 0;
      const double best = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - best);
      const auto logprob = [&](Token token) {
        return static_cast<double>(logits[static_cast<size_t>(token)]) - best - std::log(sum);
      };
      const std::vector<size_t> order_by_id = ranked(logits);
      const std::vector<Token> order(order_by_id.begin(), order_by_id.end());
      // Temperature, bias and penalties steer the draw, never what is reported.
      SamplerOptions options{.temperature = 3, .repetition_penalty = 2, .top_logprobs = 20};
      options.logit_bias = {{order[0], -100.0f}};
      if (vocabulary > 1) options.logit_bias.emplace_back(order[1], 50.0f);
      if (vocabulary == 1) options.logit_bias.clear();
      const std::vector<Token> prompt{order[0], order.back()};
      Sampler sampler(options, vocabulary, prompt);
      std::vector<float> scratch = logits;
      const Result<Choice> choice = sampler.choose(scratch);
      ASSERT_TRUE(choice);
      const auto near = [](double value) { return 2e-5 + 1e-6 * std::abs(value); };
      EXPECT_NEAR(static_cast<double>(choice->logprob), logprob(choice->token),
                  near(logprob(choice->token)));
      EXPECT_LE(choice->logprob, 0.0f);
      ASSERT_EQ(choice->top.size(), std::min<size_t>(20, logits.size()));
      for (size_t i = 0; i < choice->top.size(); ++i) {
        EXPECT_EQ(choice->top[i].token, order[i]);
        EXPECT_NEAR(static_cast<double>(choice->top[i].logprob), logprob(order[i]),
                    near(logprob(order[i])));
      }
    }
  }
}

TEST(Sampler, draws_from_the_distribution_that_the_options_describe) {
  Rng rng(3);
  const std::vector<float> small = random_logits(rng, 30, 2);
  const SamplerOptions combined{
      .temperature = 0.8f, .top_k = 20, .top_p = 0.9f, .min_p = 0.05f, .seed = 1};
  expect_distribution(small, {.seed = 1});
  expect_distribution(small, {.temperature = 0.5f, .seed = 2});
  expect_distribution(small, {.temperature = 2, .seed = 3});
  expect_distribution(small, {.top_k = 7, .seed = 4});
  expect_distribution(small, {.top_p = 0.8f, .seed = 5});
  expect_distribution(small, {.min_p = 0.1f, .seed = 6});
  expect_distribution(small, {.temperature = 100, .top_p = 0.999f, .seed = 7});
  expect_distribution(small, combined);
  // More than one block, and tokens that cannot come.
  std::vector<float> large = random_logits(rng, 1100, 4);
  for (size_t i = 0; i < large.size(); i += 7) large[i] = -kInfinity;
  expect_distribution(large, {.seed = 8}, 20'000);
  expect_distribution(large, {.temperature = 0.7f, .top_p = 0.8f, .seed = 9}, 20'000);
  expect_distribution(large, combined, 20'000);
}

TEST(Sampler, keeps_exactly_the_tokens_that_the_filters_keep) {
  Rng rng(4);
  for (int row = 0; row < 60; ++row) {
    // A narrow spread: every token that is kept is drawn many times.
    const std::vector<float> logits = random_logits(rng, 40, 0.75f);
    SamplerOptions options{.seed = static_cast<uint64_t>(row)};
    if (row % 2 == 0) options.top_k = 1 + static_cast<int32_t>(rng.below(45));
    if (row % 3 != 1) options.top_p = static_cast<float>(rng.uniform());
    if (row % 5 != 1) options.min_p = static_cast<float>(rng.uniform());
    const std::vector<double> wanted = expected_probabilities(logits, options);
    const std::vector<int> counts = draw_counts(logits, options, 5000);
    for (size_t token = 0; token < logits.size(); ++token) {
      EXPECT_EQ(counts[token] > 0, wanted[token] > 0) << "row " << row << " token " << token;
    }
  }
}

TEST(Sampler, keeps_the_lowest_ids_of_a_flat_row_by_mass_and_by_rank) {
  const std::vector<float> flat(20'000, 1.5f);
  std::vector<float> scratch;
  Sampler by_mass({.top_p = 0.25f, .seed = 1}, 20'000, {});
  Sampler by_rank({.top_k = 5'000, .seed = 1}, 20'000, {});
  Token highest = 0;
  for (int i = 0; i < 200; ++i) {
    scratch = flat;
    const Result<Choice> first = by_mass.choose(scratch);
    scratch = flat;
    const Result<Choice> second = by_rank.choose(scratch);
    ASSERT_TRUE(first && second);
    EXPECT_LT(first->token, 5'001);
    EXPECT_LT(second->token, 5'000);
    highest = std::max({highest, first->token, second->token});
  }
  EXPECT_GT(highest, 4'800);
}

TEST(Sampler, gives_the_same_tokens_for_the_same_seed) {
  Rng rng(5);
  const auto stream = [](uint64_t seed, SamplerOptions options) {
    options.seed = seed;
    Rng model(9);
    Sampler sampler(options, 300, {});
    std::vector<Token> out;
    for (int i = 0; i < 50; ++i) {
      std::vector<float> logits = random_logits(model, 300, 3);
      out.push_back(sampler.choose(logits)->token);
    }
    return out;
  };
  for (const SamplerOptions& options :
       {SamplerOptions{}, SamplerOptions{.top_k = 40, .top_p = 0.95f, .min_p = 0.05f},
        SamplerOptions{.repetition_penalty = 1.3f, .frequency_penalty = 0.5f}}) {
    EXPECT_EQ(stream(7, options), stream(7, options));
    EXPECT_NE(stream(7, options), stream(8, options));
  }
  EXPECT_EQ(stream(7, {.temperature = 0}), stream(8, {.temperature = 0}));
}

TEST(Sampler, penalises_repeated_tokens_of_prompt_and_answer_inside_the_window) {
  const std::vector<float> raw{2.0f, -1.0f, 0.0f, 1.0f, 4.0f};
  const std::vector<Token> prompt{3, 0, 1, 1};
  Sampler sampler({.temperature = 0, .repetition_penalty = 2, .penalty_window = 3}, 5, prompt);
  std::vector<float> logits = raw;  // the window is 0 1 1
  EXPECT_EQ(sampler.choose(logits)->token, 4);
  EXPECT_EQ(logits, (std::vector<float>{1.0f, -2.0f, 0.0f, 1.0f, 4.0f}));
  logits = raw;  // 1 1 4
  EXPECT_EQ(sampler.choose(logits)->token, 0);
  EXPECT_EQ(logits, (std::vector<float>{2.0f, -2.0f, 0.0f, 1.0f, 2.0f}));
  logits = raw;  // 1 4 0
  EXPECT_EQ(sampler.choose(logits)->token, 4);
  EXPECT_EQ(logits, (std::vector<float>{1.0f, -2.0f, 0.0f, 1.0f, 2.0f}));
  logits = raw;  // 4 0 4
  EXPECT_EQ(sampler.choose(logits)->token, 4);
  EXPECT_EQ(logits, (std::vector<float>{1.0f, -1.0f, 0.0f, 1.0f, 2.0f}));
  Sampler none({.temperature = 0, .repetition_penalty = 2, .penalty_window = 0}, 5, prompt);
  logits = raw;
  EXPECT_EQ(none.choose(logits)->token, 4);
  EXPECT_EQ(logits, raw);
}

TEST(Sampler, penalises_presence_and_frequency_in_the_answer_alone) {
  const std::vector<float> raw{0.0f, 1.0f, 0.5f};
  const std::vector<Token> prompt{0, 0, 1};
  Sampler sampler({.temperature = 0, .presence_penalty = 0.25f, .frequency_penalty = 0.125f}, 3,
                  prompt);
  std::vector<float> logits;
  const auto step = [&] {
    logits = raw;
    return sampler.choose(logits)->token;
  };
  EXPECT_EQ(step(), 1);
  EXPECT_EQ(logits, raw);
  EXPECT_EQ(step(), 1);
  EXPECT_EQ(logits, (std::vector<float>{0.0f, 0.625f, 0.5f}));
  EXPECT_EQ(step(), 1);
  EXPECT_EQ(logits, (std::vector<float>{0.0f, 0.5f, 0.5f}));
  EXPECT_EQ(step(), 2);
  EXPECT_EQ(logits, (std::vector<float>{0.0f, 0.375f, 0.5f}));
  EXPECT_EQ(step(), 1);
  EXPECT_EQ(logits, (std::vector<float>{0.0f, 0.375f, 0.125f}));
}

TEST(Sampler, adds_bias_and_bans_at_minus_100) {
  std::vector<float> logits{1.0f, 1000.0f, 2.0f};
  Sampler sampler({.temperature = 0, .logit_bias = {{1, -100.0f}, {0, 1.5f}}}, 3, {});
  EXPECT_EQ(sampler.choose(logits)->token, 0);
  EXPECT_EQ(logits, (std::vector<float>{2.5f, -kInfinity, 2.0f}));
  EXPECT_EQ(choose_once({.temperature = 0, .logit_bias = {{1, -99.5f}}}, {1.0f, 1000.0f})->token,
            1);
  const std::vector<int> counts =
      draw_counts({0.0f, 5.0f, 0.0f}, {.logit_bias = {{1, -100.0f}}}, 1000);
  EXPECT_EQ(counts[1], 0);
  EXPECT_GT(counts[0], 0);
  EXPECT_GT(counts[2], 0);
  const Result<Choice> none =
      choose_once({.logit_bias = {{0, -100.0f}, {1, -100.0f}}}, {1.0f, 2.0f, -kInfinity});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kInvalid);
}

TEST(Sampler, refuses_logits_that_are_no_numbers_and_remembers_nothing) {
  SamplerOptions options{.repetition_penalty = 2, .frequency_penalty = 1, .seed = 3};
  Sampler hit(options, 2000, {});
  Sampler spared(options, 2000, {});
  Rng rng(6);
  const std::vector<float> good = random_logits(rng, 2000, 3);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    for (const size_t place : {size_t{0}, size_t{1023}, size_t{1500}, size_t{1999}}) {
      std::vector<float> logits = good;
      logits[place] = bad;
      const Result<Choice> choice = hit.choose(logits);
      ASSERT_FALSE(choice);
      EXPECT_EQ(choice.error().code, Code::kCorrupt);
      EXPECT_TRUE(choice.error().message.ends_with("for token " + std::to_string(place)));
    }
  }
  std::vector<float> nothing(2000, -kInfinity);
  EXPECT_EQ(hit.choose(nothing).error().code, Code::kCorrupt);
  for (int i = 0; i < 20; ++i) {
    std::vector<float> a = good;
    std::vector<float> b = good;
    EXPECT_EQ(hit.choose(a)->token, spared.choose(b)->token);
    EXPECT_EQ(a, b);
  }
}

TEST(Sampler, stays_sane_at_the_ends_of_its_options) {
  Rng rng(7);
  std::vector<float> logits = random_logits(rng, 500, 1e4f);
  const auto best =
      static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  EXPECT_EQ(choose_once({.temperature = 0.001f}, logits)->token, best);
  EXPECT_EQ(choose_once({.temperature = 1e-30f}, logits)->token, best);
  EXPECT_EQ(choose_once({.temperature = 0.001f, .top_p = 0.5f}, logits)->token, best);
  EXPECT_EQ(choose_once({.min_p = 1.0f}, logits)->token, best);
  EXPECT_TRUE(choose_once({.temperature = 100, .top_k = 100'000, .top_p = 1e-30f}, logits));
  logits.assign(500, -3e38f);
  logits[7] = 3e38f;
  EXPECT_EQ(choose_once({}, logits)->token, 7);
  EXPECT_EQ(choose_once({.top_p = 0.9f}, logits)->logprob, 0.0f);
  const std::vector<Token> prompt{7};
  Sampler overflow({.repetition_penalty = 0.01f}, 500, prompt);
  EXPECT_EQ(overflow.choose(logits).error().code, Code::kCorrupt);
}

TEST(SamplerOptions, are_checked_with_what_was_found_and_wanted) {
  const auto message = [](const SamplerOptions& options) {
    const Status status = options.check(100);
    return status ? std::string("fine") : status.error().message;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(message({}), "fine");
  EXPECT_EQ(message({.temperature = -1}), "temperature: found -1, wanted 0 to 100");
  EXPECT_EQ(message({.temperature = nan}), "temperature: found nan, wanted 0 to 100");
  EXPECT_EQ(message({.top_k = -2}), "top_k: found -2, wanted 0 (all) or more");
  EXPECT_EQ(message({.top_p = 1.5f}), "top_p: found 1.5, wanted 0 to 1");
  EXPECT_EQ(message({.min_p = -0.5f}), "min_p: found -0.5, wanted 0 to 1");
  EXPECT_EQ(message({.repetition_penalty = 0}), "repetition_penalty: found 0, wanted 0.01 to 100");
  EXPECT_EQ(message({.presence_penalty = 3}), "presence_penalty: found 3, wanted -2 to 2");
  EXPECT_EQ(message({.frequency_penalty = -3}), "frequency_penalty: found -3, wanted -2 to 2");
  EXPECT_EQ(message({.penalty_window = -1}), "penalty_window: found -1, wanted 0 to 65536");
  EXPECT_EQ(message({.top_logprobs = 21}), "top_logprobs: found 21, wanted 0 to 20");
  EXPECT_EQ(message({.logit_bias = {{100, 1.0f}}}), "logit_bias: found token 100, wanted 0 to 99");
  EXPECT_EQ(message({.logit_bias = {{-1, 1.0f}}}), "logit_bias: found token -1, wanted 0 to 99");
  EXPECT_EQ(message({.logit_bias = {{5, nan}}}),
            "logit_bias of token 5: found nan, wanted -100 to 100");
  EXPECT_EQ(message({.logit_bias = {{5, 1.0f}, {4, 1.0f}, {5, 2.0f}}}),
            "logit_bias: found token 5 twice, wanted once");
}

TEST(LogitScan, has_an_exponential_within_two_parts_in_ten_million) {
  double worst = 0;
  for (float x = 0.0f; x > -87.0f; x -= 0.00137f) {
    const double wanted = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(exp_of(x)) - wanted) / wanted);
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_EQ(exp_of(0.0f), 1.0f);
  EXPECT_EQ(exp_of(-88.0f), 0.0f);
  EXPECT_EQ(exp_of(-kInfinity), 0.0f);
}

TEST(LogitScan, selects_the_best_as_a_full_sort_would) {
  Rng rng(8);
  for (int row = 0; row < 200; ++row) {
    const auto size = 1 + static_cast<int32_t>(rng.below(5000));
    std::vector<float> logits = random_logits(rng, size, 4);
    if (row % 2 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // many ties
    }
    if (row % 3 == 0) logits[rng.below(logits.size())] = -kInfinity;
    if (row % 4 == 0) std::sort(logits.begin(), logits.end());  // every one better than all before
    std::vector<TokenLogit> wanted;
    for (const size_t token : ranked(logits)) {
      if (logits[token] > -kInfinity) wanted.push_back({static_cast<Token>(token), logits[token]});
    }
    const auto count = 1 + static_cast<size_t>(rng.below(static_cast<uint64_t>(size) + 10));
    if (wanted.size() > count) wanted.resize(count);
    std::vector<TokenLogit> found;
    select_best(logits, count, found);
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].token, wanted[i].token) << "row " << row << " rank " << i;
    }
  }
}

}  // namespace
}  // namespace ration
