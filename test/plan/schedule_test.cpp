#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "plan/plan.h"
#include "sim/trace.h"

namespace ration {
namespace {

// About what a model of 1.5B takes on two cores.
constexpr StepCostModel kCosts{.step = Millis{50}, .read = Millis{4}, .write = Millis{2}};
constexpr SchedulerOptions kOptions{.answers_max = 8, .step_tokens_max = 128};
constexpr int64_t kManyBlocks = 100'000;

Replay play(std::span<const TraceRow> trace, SchedulerOptions options = kOptions,
            int64_t blocks = kManyBlocks) {
  Scheduler scheduler(options);
  return replay_schedule(trace, scheduler, kCosts, blocks);
}

int64_t count(const Replay& replay, ReplayEvent::Kind kind) {
  return std::ranges::count(replay.events, kind, &ReplayEvent::kind);
}

Millis first_token(const Replay& replay, size_t row) {
  return replay.answers[row].first_token.value_or(Millis{1e18});
}

TEST(Scheduler, long_prompt_stalls_nobody_beyond_the_target) {
  std::vector<TraceRow> trace;
  for (int i = 0; i < 4; ++i) {
    trace.push_back({.at = Millis{500.0 * i}, .prompt = 20, .answer = 1500});
  }
  for (int i = 0; i < 3; ++i) {
    trace.push_back({.at = Millis{40'000.0 * (1 + i)}, .prompt = 4000, .answer = 4});
  }
  const Replay chunked = play(trace);
  for (size_t row = 0; row < 4; ++row) {
    EXPECT_LE(chunked.answers[row].longest_gap.count, 1.1 * kOptions.inter_token.count) << row;
  }
  // The same with whole steps of prompts: what is avoided.
  SchedulerOptions whole = kOptions;
  whole.inter_token = Millis{1e9};
  EXPECT_GT(play(trace, whole).answers[0].longest_gap.count, 500);
  // Chunks are as large as the target allows: reading does not take much longer than it must.
  const double room = kOptions.inter_token.count - kCosts.step.count - 4 * kCosts.write.count;
  const double steps = 4000 / (room / kCosts.read.count);
  EXPECT_LT(first_token(chunked, 4).count - 40'000, 1.5 * steps * kOptions.inter_token.count);
}

TEST(Scheduler, crowd_of_prompts_is_read_in_longer_steps_up_to_a_bound) {
  std::vector<TraceRow> trace{{.at = {}, .prompt = 20, .answer = 400}};
  for (int i = 0; i < 7; ++i) trace.push_back({.at = Millis{5'000}, .prompt = 200, .answer = 300});
  const auto last_first_token = [&](const Replay& replay) {
    Millis last;
    for (size_t row = 1; row < trace.size(); ++row) last = std::max(last, first_token(replay, row));
    return last;
  };
  const Replay replay = play(trace);
  const double longest = replay.answers[0].longest_gap.count;
  EXPECT_GT(longest, 2 * kOptions.inter_token.count);
  EXPECT_LE(longest, 1.1 * kOptions.inter_token.count * static_cast<double>(kOptions.crowd_max));
  // What it is for: the last of them waits less than in steps that are short all the time.
  SchedulerOptions patient = kOptions;
  patient.crowd_max = 1;
  const Replay slow = play(trace, patient);
  EXPECT_LE(slow.answers[0].longest_gap.count, 1.1 * kOptions.inter_token.count);
  EXPECT_LT(last_first_token(replay) - Millis{5'000},
            (last_first_token(slow) - Millis{5'000}) * 0.75);
  EXPECT_LT(replay.end, slow.end);
}

TEST(Scheduler, prompts_are_read_in_whole_steps_when_nobody_writes) {
  const std::vector<TraceRow> trace{{.at = {}, .prompt = 1280, .answer = 1}};
  EXPECT_EQ(play(trace).end, kCosts.step * 10 + kCosts.read * 1280);
}

TEST(Scheduler, chunk_keeps_to_its_least_when_answers_alone_take_longer) {
  SchedulerOptions options = kOptions;
  options.inter_token = Millis{40};  // less than a step of one token takes
  const std::vector<TraceRow> trace{{.at = {}, .prompt = 8, .answer = 200},
                                    {.at = Millis{500}, .prompt = 160, .answer = 1}};
  const Replay replay = play(trace, options);
  const double chunk = static_cast<double>(options.chunk_min);
  const double step = kCosts.step.count + kCosts.write.count + chunk * kCosts.read.count;
  EXPECT_NEAR(first_token(replay, 1).count - 500, 160 / chunk * step, step);
}

TEST(Scheduler, short_prompt_is_not_behind_a_long_one) {
  const std::vector<TraceRow> trace{{.at = {}, .prompt = 20, .answer = 1},  // teaches the times
                                    {.at = Millis{1000}, .prompt = 4000, .answer = 1},
                                    {.at = Millis{2000}, .prompt = 50, .answer = 1}};
  const Replay replay = play(trace);
  EXPECT_LT(first_token(replay, 2).count, 5000);
  EXPECT_LT(first_token(replay, 2), first_token(replay, 1));
}

TEST(Scheduler, long_prompt_comes_to_its_end_while_short_ones_keep_coming) {
  std::vector<TraceRow> trace{{.at = {}, .prompt = 4000, .answer = 1}};
  for (int i = 1; i < 400; ++i) {
    trace.push_back({.at = Millis{230.0 * i}, .prompt = 30, .answer = 1});  // three quarters
  }
  const Replay replay = play(trace);
  EXPECT_GT(first_token(replay, 0).count, 20'000);  // 18 s alone
  EXPECT_LT(first_token(replay, 0).count, 60'000);  // and others ask for 92 s
}

TEST(Scheduler, keys_get_equal_shares_however_much_they_ask_for) {
  std::vector<TraceRow> trace;
  for (int i = 0; i < 30; ++i) {
    trace.push_back({.at = {}, .prompt = 400, .answer = 100, .key = "greedy"});
  }
  for (int i = 0; i < 5; ++i) {
    trace.push_back({.at = Millis{1000}, .prompt = 400, .answer = 100, .key = "modest"});
  }
  const Replay replay = play(trace, {.answers_max = 2, .step_tokens_max = 128});
  // Of what the modest key asks, the last is done when the greedy one has had about as much.
  Millis modest_end;
  for (size_t row = 30; row < 35; ++row) {
    modest_end = std::max(modest_end, replay.answers[row].finished.value());
  }
  int64_t greedy = 0;
  for (size_t row = 0; row < 30; ++row) {
    greedy += replay.answers[row].finished.value() <= modest_end ? 1 : 0;
  }
  EXPECT_GE(greedy, 3);
  EXPECT_LE(greedy, 8);
}

TEST(Scheduler, key_that_was_away_has_saved_nothing_up) {
  Scheduler scheduler(kOptions);
  std::vector<ScheduledAnswer> answers{{.id = 1, .key = "here", .prompt = 10, .active = true}};
  const std::vector<StepShare> shares{{0, 10'000}};
  scheduler.next_move({}, answers, kManyBlocks);
  answers[0].prompt = 20'000;
  scheduler.observe(answers, shares, Millis{1});
  EXPECT_EQ(scheduler.served("here"), 10'000);
  answers.push_back({.id = 2, .key = "new", .prompt = 10});
  scheduler.next_move({}, answers, kManyBlocks);
  EXPECT_EQ(scheduler.served("new"), 10'000);
  // What one key has had too much is still known after a pause.
  answers[1].active = true;
  answers[1].prompt = 20'000;
  scheduler.observe(answers, std::vector<StepShare>{{1, 7'000}}, Millis{1});
  scheduler.next_move({}, std::vector<ScheduledAnswer>{answers[0]}, kManyBlocks);
  scheduler.next_move({}, answers, kManyBlocks);
  EXPECT_EQ(scheduler.served("new"), 17'000);
}

TEST(Scheduler, higher_priority_takes_the_place_of_a_lower_one_and_gives_it_back) {
  const std::vector<TraceRow> trace{
      {.at = {}, .prompt = 40, .answer = 50},
      {.at = Millis{10}, .prompt = 40, .answer = 50},
      {.at = Millis{1500}, .prompt = 40, .answer = 20, .priority = 1},
  };
  const Replay replay = play(trace, {.answers_max = 2, .step_tokens_max = 128});
  EXPECT_LT(first_token(replay, 2).count, 3000);
  EXPECT_EQ(replay.answers[0].step_backs, 0);  // the younger one of the two steps back
  EXPECT_EQ(replay.answers[1].step_backs, 1);
  for (const ReplayAnswer& answer : replay.answers) EXPECT_TRUE(answer.finished);
  EXPECT_LT(replay.answers[2].finished, replay.answers[1].finished);
}

TEST(Scheduler, who_waits_long_goes_before_higher_priorities_that_keep_coming) {
  std::vector<TraceRow> trace{{.at = {}, .prompt = 40, .answer = 5, .priority = 1},
                              {.at = Millis{1}, .prompt = 40, .answer = 5}};
  for (int i = 1; i < 200; ++i) {
    trace.push_back({.at = Millis{350.0 * i}, .prompt = 40, .answer = 5, .priority = 1});
  }
  const Replay replay = play(trace, {.answers_max = 1, .step_tokens_max = 128});
  EXPECT_GT(first_token(replay, 1).count, 9'000);
  EXPECT_LT(first_token(replay, 1).count, 40'000);
}

TEST(Scheduler, deadline_that_cannot_be_met_is_refused_at_once) {
  const std::vector<TraceRow> trace{
      {.at = {}, .prompt = 256, .answer = 1},  // teaches the times
      {.at = Millis{5000}, .prompt = 4000, .answer = 1, .deadline = Millis{5000}},
      {.at = Millis{5000}, .prompt = 100, .answer = 1, .deadline = Millis{5000}},
  };
  const Replay replay = play(trace);
  EXPECT_EQ(count(replay, ReplayEvent::Kind::kRefuse), 1);
  EXPECT_EQ(replay.answers[1].finished, Millis{5000});
  EXPECT_FALSE(replay.answers[1].first_token);
  EXPECT_TRUE(replay.answers[2].first_token);
}

TEST(Scheduler, only_active_answer_never_steps_back) {
  Scheduler scheduler(kOptions);
  const std::vector<ScheduledAnswer> one{{.id = 1, .prompt = 10, .active = true},
                                         {.id = 2, .prompt = 10}};
  EXPECT_FALSE(scheduler.victim(one));
}

TEST(Scheduler, no_two_moves_undo_each_other) {
  // Every state of four answers with priorities, ages and progress: moves come to an end.
  Rng rng(5);
  for (int round = 0; round < 20'000; ++round) {
    Scheduler scheduler({.answers_max = 2, .step_tokens_max = 32, .patience = Millis{1000}});
    std::vector<ScheduledAnswer> answers;
    int active = 0;
    for (uint64_t id = 0; id < 5; ++id) {
      ScheduledAnswer answer{.id = id,
                             .key = rng.below(2) == 0 ? "a" : "b",
                             .priority = static_cast<int32_t>(rng.below(3)),
                             .arrived = Millis{static_cast<double>(rng.below(8000))},
                             .prompt = static_cast<int64_t>(1 + rng.below(100)),
                             .generated = static_cast<int64_t>(rng.below(2) * rng.below(50))};
      if (active < 2 && rng.below(2) == 0) {
        answer.active = true;
        answer.computed = answer.generated > 0 ? answer.tokens() - 1 : 0;
        ++active;
      }
      answers.push_back(answer);
    }
    int64_t free = static_cast<int64_t>(rng.below(6));
    for (int moves = 0;; ++moves) {
      ASSERT_LT(moves, 12) << round;
      const ScheduleMove move = scheduler.next_move(Millis{9000}, answers, free);
      if (move.kind == ScheduleMove::Kind::kNone) break;
      ScheduledAnswer& answer = answers[move.answer];
      ASSERT_EQ(answer.active, move.kind == ScheduleMove::Kind::kStepBack);
      if (move.kind == ScheduleMove::Kind::kStepBack)
        free += (std::exchange(answer.computed, 0) + 31) / 32;
      answer.active = move.kind == ScheduleMove::Kind::kAdmit;
    }
    // Somebody has a place.
    ASSERT_TRUE(std::ranges::any_of(answers, &ScheduledAnswer::active));
    ASSERT_LE(std::ranges::count_if(answers, &ScheduledAnswer::active), 2);
  }
}

TEST(Scheduler, random_traces_end_with_every_answer_whole) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Rng rng(seed);
    std::vector<TraceRow> trace;
    const Bursts bursts{.quiet_a_second = 0.3,
                        .busy_a_second = 4,
                        .quiet_mean = Millis{20'000},
                        .busy_mean = Millis{5'000}};
    for (const Millis at : burst_arrivals(rng, bursts, Millis{120'000})) {
      trace.push_back({.at = at,
                       .prompt = static_cast<int64_t>(1 + rng.below(300)),
                       .answer = static_cast<int64_t>(rng.below(200)),
                       .key = std::string(1, static_cast<char>('a' + rng.below(3))),
                       .priority = static_cast<int32_t>(rng.below(3))});
    }
    const Replay replay = play(trace, {.answers_max = 6, .step_tokens_max = 64}, 40);
    EXPECT_GT(count(replay, ReplayEvent::Kind::kStepBack), 0);
    for (size_t row = 0; row < trace.size(); ++row) {
      EXPECT_TRUE(replay.answers[row].finished) << row;
      EXPECT_EQ(replay.answers[row].generated, trace[row].answer) << row;
    }
    EXPECT_EQ(play(trace, {.answers_max = 6, .step_tokens_max = 64}, 40).events, replay.events);
  }
}

}  // namespace
}  // namespace ration
