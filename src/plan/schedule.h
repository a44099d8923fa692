// plan/schedule.h - what an engine's next step does: whose prompt is read, and how much of it; who
// comes in, who steps back for whom, and who cannot be served in time.
//
// A policy over plain structs: it reads no clock and moves nothing. The runner asks it before each
// step and tells it how long the step took; plan/replay.h asks the same object on a simulated
// clock. Private to plan/; plan/plan.h hands it on.
//
//   while (true) {
//     const ScheduleMove move = scheduler.next_move(now, answers, blocks_free);
//     if (move.kind == ScheduleMove::Kind::kNone) break;
//     ... do it, and describe the answers again ...
//   }
//   const std::vector<StepShare> shares = scheduler.compose(now, answers);
//   ... run them; where the cache is full, scheduler.victim(answers) steps back ...
//   scheduler.observe(answers, shares, took);
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unit.h"

namespace ration {

// One answer, waiting or active. Times are since any fixed start.
struct ScheduledAnswer {
  uint64_t id = 0;            // rises with arrival; equal otherwise, the lower one goes first
  std::string_view key = {};  // answers of one key share what that key is due
  int32_t priority = 0;       // higher first
  Millis arrived;
  std::optional<Millis> deadline = std::nullopt;  // when, not how long
  int64_t prompt = 0;                             // tokens of the prompt
  int64_t generated = 0;                          // tokens after it
  int64_t computed = 0;  // of all of them, in the cache; of one who waits: what it will find there
  bool active = false;   // holds a place and blocks

  int64_t tokens() const { return prompt + generated; }
  // Only its newest token is missing from the cache.
  bool writes() const { return generated > 0 && computed + 1 == tokens(); }
  // Tokens that it could run in one step: one role at a time.
  int64_t runnable() const { return (computed < prompt ? prompt : tokens()) - computed; }
};

struct ScheduleMove {
  enum class Kind : uint8_t {
    kNone,      // nothing is left to do before the step
    kRefuse,    // a waiting answer: its first token cannot come before its deadline
    kAdmit,     // a waiting answer gets a place
    kStepBack,  // an active answer gives its place and its blocks to one of a higher priority
  };
  Kind kind = Kind::kNone;
  size_t answer = 0;  // index
};

// So many tokens of an answer run in the step.
struct StepShare {
  size_t answer = 0;  // index
  int64_t tokens = 0;
};

struct SchedulerOptions {
  int64_t answers_max = 1;        // active at once; at most step_tokens_max
  int64_t step_tokens_max = 128;  // of one step
  int64_t block_tokens = 32;      // the cache is taken in blocks of so many tokens
  // While answers are being written, as much of a prompt rides along as keeps the step below this.
  // Where the answers alone take that long, prompts get half their time, and so many tokens at
  // least: so that they get on.
  Millis inter_token{150};
  int64_t chunk_min = 16;
  // Where several prompts are to be read, the step may take so long for each, up to so many times:
  // who waits for a first token waits for all who came before.
  int64_t crowd_max = 4;
  // What a key is charged for a generated token; one of a prompt counts 1.
  double generated_weight = 2;
  // Keys whose service differs by less than so many tokens count as equal.
  double share_quantum = 512;
  // Who waits rises by one priority each time so long has passed.
  Millis patience{10'000};
};

// What steps were seen to take, in two numbers that follow the machine. single-thread.
class StepTimes {
 public:
  explicit StepTimes(int64_t answers_max);
  // writers: answers that wrote one token each; read: tokens of others. A span of 0 says nothing.
  void observe(int64_t writers, int64_t read, Millis took);
  // A step of nothing but so many writers; 0 when none was seen.
  Millis write(int64_t writers) const;
  // A token that is read beside writers, or in a step of its own; 0 when none was seen.
  Millis read_token() const { return read_token_; }
  // The least that reading takes: full steps, nobody else.
  Millis least_read_token() const { return least_read_token_; }

 private:
  std::vector<Millis> write_;  // by writers
  Millis read_token_;
  Millis least_read_token_;
};

// single-thread: one object an engine.
class Scheduler {
 public:
  explicit Scheduler(SchedulerOptions options);

  // The next thing to do before a step. Asked again after each, with fresh numbers.
  // blocks_free: that no active answer holds.
  ScheduleMove next_move(Millis now, std::span<const ScheduledAnswer> answers, int64_t blocks_free);

  // The next step: every active answer that writes gets a token, then prompts get the rest. Not
  // empty when an answer is active. Answers that write come first, each group in order.
  std::vector<StepShare> compose(Millis now, std::span<const ScheduledAnswer> answers) const;

  // Who steps back when the cache is full: the youngest of the lowest priority, but never the only
  // active answer.
  std::optional<size_t> victim(std::span<const ScheduledAnswer> answers) const;

  // What a step did, and how long it took: charges the keys and learns the times.
  void observe(std::span<const ScheduledAnswer> answers, std::span<const StepShare> shares,
               Millis took);

  // The most tokens of so many prompts in a step beside so many writers.
  int64_t chunk_beside(int64_t writers, int64_t readers) const;
  const StepTimes& times() const { return times_; }
  const SchedulerOptions& options() const { return options_; }
  // Tokens that a key was served, weighted; of one that was away, no less than who was here had.
  double served(std::string_view key) const;

 private:
  struct Share {
    double served = 0;
    bool present = false;
  };
  struct Rank;

  void note_present(std::span<const ScheduledAnswer> answers);
  Rank rank(Millis now, const ScheduledAnswer& answer) const;
  double reading_ms(const ScheduledAnswer& answer) const;
  bool hopeless(Millis now, const ScheduledAnswer& answer) const;
  int64_t blocks_for(int64_t tokens) const;

  const SchedulerOptions options_;
  StepTimes times_;
  std::map<std::string, Share, std::less<>> shares_;  // by key
  double floor_ = 0;  // what a key starts from that was away: the least of who is here
};

}  // namespace ration
