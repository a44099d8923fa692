#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "plan/plan.h"

namespace ration {
namespace {

using State = ResidentModel::State;

// Four models, 5.5 GB in all; loading takes 0.1 s and a second a GB.
std::vector<ReplayModel> four_models() {
  std::vector<ReplayModel> models;
  for (const auto& [name, megabytes] :
       {std::pair{"tiny", 200}, {"small", 800}, {"middle", 1500}, {"large", 3000}}) {
    models.push_back({.name = name,
                      .bytes = Bytes{megabytes * 1'000'000LL},
                      .load = Millis{100.0 + megabytes},
                      .answer = Millis{50.0 + 0.1 * megabytes}});
  }
  return models;
}

ResidencyOptions options(EvictionOrder order = EvictionOrder::kGreedyDual) {
  // Any two fit, and three of the smaller ones: by count it must be two.
  return {.budget = Bytes{4'600'000'000}, .order = order, .models_max = 2};
}

// chance: by model; a second: arrivals.
std::vector<TraceRow> random_trace(uint64_t seed, std::span<const double> chances, double a_second,
                                   Millis until) {
  Rng rng(seed);
  std::vector<TraceRow> trace;
  for (const Millis at : poisson_arrivals(rng, a_second, until)) {
    double left = rng.uniform();
    size_t model = 0;
    while (model + 1 < chances.size() && left >= chances[model]) left -= chances[model++];
    trace.push_back({.at = at, .prompt = 1, .model = four_models()[model].name});
  }
  return trace;
}

TEST(Residency, loads_less_than_lru_by_count_on_random_traces) {
  for (const std::vector<double>& chances :
       {std::vector<double>{0.25, 0.25, 0.25, 0.25}, {0.4, 0.3, 0.2, 0.1}, {0.1, 0.2, 0.3, 0.4}}) {
    int64_t loads[3] = {};
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      const auto trace = random_trace(seed, chances, 0.5, Millis{600'000});
      for (int order = 0; order < 3; ++order) {
        const ResidencyReplay replay =
            replay_residency(trace, four_models(), options(static_cast<EvictionOrder>(order)));
        EXPECT_EQ(replay.answers, std::ssize(trace));
        EXPECT_LE(replay.peak, options().budget);
        loads[order] += replay.loads;
      }
    }
    EXPECT_LT(loads[0], 0.9 * static_cast<double>(loads[2]));
    EXPECT_LE(loads[0], loads[1]);
  }
}

TEST(Residency, models_that_take_turns_are_served_in_batches) {
  // Two models of which one fits, asked for in turn, three times a second.
  std::vector<ReplayModel> models = four_models();
  std::vector<TraceRow> trace;
  for (int i = 0; i < 600; ++i) {
    trace.push_back({.at = Millis{333.0 * i}, .prompt = 1, .model = i % 2 ? "middle" : "large"});
  }
  ResidencyOptions one = options();
  one.budget = Bytes{3'000'000'000};
  const ResidencyReplay batched = replay_residency(trace, models, one);
  EXPECT_EQ(batched.answers, 600);
  // Loading takes at most about a third of the time, and no one waits for ever.
  EXPECT_LT(batched.loading.count, 0.4 * batched.end.count);
  EXPECT_LT(std::ranges::max(batched.waits), Millis{40'000});
  ResidencyOptions eager = one;
  eager.patience = {};
  eager.swap_factor = 0;
  EXPECT_GT(replay_residency(trace, models, eager).loads, batched.loads);
}

TEST(Residency, idle_models_go_after_their_time_and_pinned_ones_stay) {
  std::vector<ReplayModel> models = four_models();
  models[0].keep_alive = Millis{5000};
  models[1].keep_alive = Millis{5000};
  models[1].pinned = true;
  const std::vector<TraceRow> trace{{.at = {}, .prompt = 1, .model = "tiny"},
                                    {.at = {}, .prompt = 1, .model = "small"},
                                    {.at = Millis{60'000}, .prompt = 1, .model = "tiny"},
                                    {.at = Millis{60'000}, .prompt = 1, .model = "small"}};
  const ResidencyReplay replay = replay_residency(trace, models, options());
  EXPECT_EQ(replay.loads, 3);  // tiny twice, small once
  EXPECT_EQ(replay.unloads, 2);
}

TEST(Residency, frees_no_more_than_is_needed) {
  Residency residency({.budget = Bytes{100}}, 4);
  std::vector<ResidentModel> models{
      {.name = "a", .bytes = Bytes{20}, .load = Millis{1}, .state = State::kIn},
      {.name = "b", .bytes = Bytes{70}, .load = Millis{100}, .state = State::kIn},
      {.name = "c", .bytes = Bytes{60}, .load = Millis{1}, .queued = 1},
      {.name = "d", .bytes = Bytes{5}, .load = Millis{1}},
  };
  for (size_t i : {0, 1}) residency.used(i, {}, models[i]);
  // "a" is the cheapest to have again, but without "b" there is no room, and with it gone enough.
  const ResidencyMove move = residency.next_move(Millis{1}, models);
  EXPECT_EQ(move.kind, ResidencyMove::Kind::kUnload);
  EXPECT_EQ(move.model, 1u);
}

TEST(Residency, busy_model_is_left_alone_until_its_turn_ends_and_then_drains) {
  Residency residency({.budget = Bytes{100}, .patience = Millis{1000}, .swap_factor = 2}, 2);
  std::vector<ResidentModel> models{
      {.name = "a", .bytes = Bytes{80}, .load = Millis{300}, .state = State::kIn, .running = 1},
      {.name = "b", .bytes = Bytes{80}, .load = Millis{500}, .queued = 1, .oldest = Millis{100}},
  };
  residency.used(0, {}, models[0]);
  ResidencyMove move = residency.next_move(Millis{200}, models);
  EXPECT_EQ(move.kind, ResidencyMove::Kind::kNone);
  EXPECT_EQ(move.wake, Millis{1700});  // 100 + 2 x (300 + 500)
  EXPECT_TRUE(residency.open(0));
  move = residency.next_move(Millis{1700}, models);
  EXPECT_EQ(move.kind, ResidencyMove::Kind::kNone);
  EXPECT_FALSE(residency.open(0));
  models[0].running = 0;
  models[0].queued = 3;  // they wait for their turn
  models[0].oldest = Millis{1750};
  move = residency.next_move(Millis{1800}, models);
  EXPECT_EQ(move.kind, ResidencyMove::Kind::kUnload);
  EXPECT_EQ(move.model, 0u);
  models[0].state = State::kOut;
  move = residency.next_move(Millis{1800}, models);
  EXPECT_EQ(move.kind, ResidencyMove::Kind::kLoad);
  EXPECT_EQ(move.model, 1u);
}

TEST(Residency, helpers_have_a_pool_of_their_own) {
  Residency residency({.budget = Bytes{100}, .helper_budget = Bytes{30}}, 3);
  std::vector<ResidentModel> models{
      {.name = "router", .bytes = Bytes{30}, .helper = true, .state = State::kIn},
      {.name = "a", .bytes = Bytes{90}, .queued = 1},
      {.name = "embedder", .bytes = Bytes{20}, .helper = true},
  };
  EXPECT_EQ(residency.next_move({}, models).kind, ResidencyMove::Kind::kLoad);
  models[1].queued = 0;
  models[2].queued = 1;  // only another helper can make room for a helper
  const ResidencyMove move = residency.next_move({}, models);
  EXPECT_EQ(move.kind, ResidencyMove::Kind::kUnload);
  EXPECT_EQ(move.model, 0u);
}

TEST(Residency, refusal_says_what_is_needed_what_can_be_had_and_what_would_fit) {
  const Residency residency({.budget = Bytes{4'000'000'000}}, 3);
  std::vector<ResidentModel> models{
      {.name = "chat", .bytes = Bytes{2'500'000'000}, .pinned = true, .state = State::kIn},
      {.name = "large", .bytes = Bytes{3'000'000'000}},
      {.name = "small", .bytes = Bytes{800'000'000}, .state = State::kIn},
  };
  const Status refused = residency.check(1, models);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "'large' needs 3.00 GB of memory, and 1.50 GB of 4.00 GB can be had; the rest is held "
            "by 'chat' (2.50 GB, pinned); what would fit: 'small' (800 MB)");
  EXPECT_EQ(refused.error().shortfall->missing(), 1'500'000'000);
  models[0].pinned = false;
  EXPECT_TRUE(residency.check(1, models));
}

TEST(Residency, preloads_only_where_there_is_room) {
  Residency residency({.budget = Bytes{100}}, 2);
  std::vector<ResidentModel> models{
      {.name = "a", .bytes = Bytes{80}, .state = State::kIn},
      {.name = "b", .bytes = Bytes{30}, .preload = true},
  };
  EXPECT_EQ(residency.next_move({}, models).kind, ResidencyMove::Kind::kNone);
  models[0].bytes = Bytes{70};
  EXPECT_EQ(residency.next_move({}, models).kind, ResidencyMove::Kind::kLoad);
}

}  // namespace
}  // namespace ration
