// The same policy over the same trace: in the runner with a real engine, and simulated.
#include <fmt/core.h>

#include <array>
#include <cmath>
#include <deque>

#include "plan/plan.h"
#include "sim/trace.h"
#include "test/run/tiny_runner.h"

namespace ration {
namespace {

constexpr StepCostModel kCosts{.step = Millis{20}, .read = Millis{3}, .write = Millis{2}};
constexpr int64_t kBlocks = 10;
constexpr EngineOptions kLimits{.context = 160,
                                .kv_tokens = kBlocks * kKvBlockTokens,
                                .step_tokens_max = 32,
                                .logit_rows_max = 4};

// Time that passes with the engine's work, by the cost model and nothing else.
class WorkClock final : public Clock {
 public:
  explicit WorkClock(const Engine& engine) : engine_(engine) {}
  int64_t now_ns() const override {
    const EngineWork& work = engine_.work();
    const Millis took = kCosts.step * static_cast<double>(work.steps) +
                        kCosts.read * static_cast<double>(work.prompt_tokens) +
                        kCosts.write * static_cast<double>(work.generated_tokens);
    return waited_ns_ + static_cast<int64_t>(took.count) * 1'000'000;
  }
  void wait_until(int64_t ns) { waited_ns_ += std::max<int64_t>(ns - now_ns(), 0); }

 private:
  const Engine& engine_;
  int64_t waited_ns_ = 0;
};

// Writes what it hears in the words of a replay.
class EventWriter final : public Listener {
 public:
  EventWriter(std::vector<ReplayEvent>& events, const Clock& clock, size_t row)
      : events_(events), clock_(clock), row_(row) {}
  void on_place(bool active) override {
    note(active ? ReplayEvent::Kind::kAdmit : ReplayEvent::Kind::kStepBack);
  }
  void on_token(const TokenOutput&, std::string_view) override {
    if (tokens++ == 0) note(ReplayEvent::Kind::kFirstToken);
  }
  void on_finish(std::string_view, const Finish& finish) override {
    note(finish.error ? ReplayEvent::Kind::kRefuse : ReplayEvent::Kind::kFinish);
  }
  int64_t tokens = 0;

 private:
  void note(ReplayEvent::Kind kind) { events_.push_back({to_millis(clock_.now_ns()), kind, row_}); }
  std::vector<ReplayEvent>& events_;
  const Clock& clock_;
  const size_t row_;
};

struct WorkRunner : TinyEngine {
  explicit WorkRunner(RunnerOptions options = {})
      : TinyEngine("llama-gqa", *available_kernels().front(), 1, kLimits),
        clock(*engine),
        machine(describe_machine(files)),
        meter(files, machine, {}),
        attributor(meter, clock, {}),
        runner(*engine, budget, clock, attributor, options) {}

  WorkClock clock;
  SystemFiles files;
  Machine machine;
  EnergyMeter meter;
  Attributor attributor;
  Runner runner;
};

std::vector<ReplayEvent> run_for_real(std::span<const TraceRow> trace) {
  WorkRunner tiny;
  std::vector<ReplayEvent> events;
  std::deque<EventWriter> writers;
  size_t next = 0;
  const auto at_ns = [&](size_t row) {
    return static_cast<int64_t>(trace[row].at.count * 1e6 + 0.5);
  };
  for (bool busy = false; busy || next < trace.size();) {
    if (!busy) tiny.clock.wait_until(at_ns(next));
    for (; next < trace.size() && at_ns(next) <= tiny.clock.now_ns(); ++next) {
      const TraceRow& row = trace[next];
      Request request{.prompt = random_tokens(*tiny.model, row.prompt, next + 1),
                      .tokens_max = row.answer,
                      .deadline = row.deadline,
                      .ignore_end = true,
                      .priority = row.priority,
                      .key = row.key};
      // The runner counts from now, as the thread that serves it tells it.
      if (request.deadline) *request.deadline -= tiny.clock.since(at_ns(next));
      writers.emplace_back(events, tiny.clock, next);
      const auto submitted = tiny.runner.submit(std::move(request), writers.back());
      CHECK(submitted, submitted ? "" : submitted.error().message);
    }
    busy = tiny.runner.step();
  }
  EXPECT_EQ(tiny.engine->kv_blocks_free(), tiny.engine->kv_blocks_max());
  return events;
}

std::vector<ReplayEvent> run_simulated(std::span<const TraceRow> trace) {
  Scheduler scheduler({.answers_max = kLimits.logit_rows_max,
                       .step_tokens_max = kLimits.step_tokens_max,
                       .block_tokens = kKvBlockTokens});
  return replay_schedule(trace, scheduler, kCosts, kBlocks).events;
}

std::string to_text(const std::vector<ReplayEvent>& events) {
  static constexpr std::array kNames{"admit", "first token", "step back", "finish", "refuse"};
  std::string text;
  for (const ReplayEvent& event : events) {
    text += fmt::format("{} {} {}\n", event.at.count, kNames[static_cast<size_t>(event.kind)],
                        event.row);
  }
  return text;
}

TEST(Schedule, simulated_events_are_the_real_ones_at_the_same_times) {
  std::array<int64_t, 5> seen{};
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Rng rng(seed);
    std::vector<TraceRow> trace;
    for (const Millis at : poisson_arrivals(rng, 3, Millis{4'000})) {
      TraceRow row{.at = Millis{std::floor(at.count)},
                   .prompt = static_cast<int64_t>(1 + rng.below(90)),
                   .answer = static_cast<int64_t>(rng.below(70)),
                   .key = rng.below(2) == 0 ? "a" : "b",
                   .priority = static_cast<int32_t>(rng.below(4) / 3)};
      if (rng.below(4) == 0) row.deadline = Millis{static_cast<double>(rng.below(1500)) + 0.5};
      trace.push_back(row);
    }
    const std::vector<ReplayEvent> real = run_for_real(trace);
    EXPECT_EQ(to_text(real), to_text(run_simulated(trace))) << "seed " << seed;
    for (const ReplayEvent& event : real) ++seen[static_cast<size_t>(event.kind)];
  }
  // Every kind was there to agree on.
  for (const int64_t count : seen) EXPECT_GT(count, 0);
}

// Two fifths of what reading takes is too little for a new prompt, plenty for one that was read.
TEST(Schedule, a_deadline_counts_only_what_a_prompt_has_still_to_read) {
  WorkRunner tiny({.prefix_bytes = Bytes{kMiB}});
  constexpr int64_t kPrompt = 90;
  const auto ask = [&](uint64_t seed, std::optional<Millis> deadline) {
    Recorder recorder;
    const auto submitted = tiny.runner.submit({.prompt = random_tokens(*tiny.model, kPrompt, seed),
                                               .tokens_max = 1,
                                               .deadline = deadline,
                                               .ignore_end = true},
                                              recorder);
    CHECK(submitted, submitted ? "" : submitted.error().message);
    while (tiny.runner.step()) {
    }
    return recorder.finish;
  };
  EXPECT_FALSE(ask(1, std::nullopt).error);
  const Millis near = kCosts.read * static_cast<double>(kPrompt) * 0.4;
  EXPECT_FALSE(ask(1, near).error);
  const Finish refused = ask(2, near);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->code, Code::kDeadline);
}

TEST(Schedule, answers_of_all_priorities_are_what_they_are_alone) {
  constexpr int64_t kAnswers = 5;
  const auto request = [](TinyRunner& tiny, int64_t i) {
    Request asked = tiny.request(static_cast<uint64_t>(i + 1), 20 + 10 * i, 30);
    asked.priority = static_cast<int32_t>(i % 3);
    asked.key = i % 2 == 0 ? "a" : "b";
    return asked;
  };
  Recorder alone[kAnswers], together[kAnswers];
  for (int64_t i = 0; i < kAnswers; ++i) {
    TinyRunner tiny(kLimits);
    ASSERT_TRUE(tiny.runner.submit(request(tiny, i), alone[i]));
    tiny.run_all();
  }
  TinyRunner tiny(kLimits);
  for (int64_t i = 0; i < kAnswers; ++i) {
    ASSERT_TRUE(tiny.runner.submit(request(tiny, i), together[i]));
    for (int step = 0; step < 7; ++step) tiny.runner.step();
  }
  tiny.run_all();
  for (int64_t i = 0; i < kAnswers; ++i) {
    EXPECT_EQ(together[i].tokens, alone[i].tokens) << i;
    EXPECT_EQ(together[i].logprobs, alone[i].logprobs) << i;
  }
}

}  // namespace
}  // namespace ration
