// plan/replay.h - the scheduler on a simulated clock: what it would have done with a trace, and how
// long everybody would have waited. Private to plan/; plan/plan.h hands it on.
//
// The engine is a cost model of three numbers; everything else is the live policy. Moves and tokens
// come in the order in which the runner would have them (test/run/schedule_test.cpp).
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "plan/schedule.h"
#include "sim/trace.h"

namespace ration {

// A step takes: step + read tokens x read + written tokens x write.
struct StepCostModel {
  Millis step;
  Millis read;   // a token of a prompt
  Millis write;  // a token of an answer
};

struct ReplayEvent {
  enum class Kind : uint8_t { kAdmit, kFirstToken, kStepBack, kFinish, kRefuse };
  Millis at;
  Kind kind = Kind::kAdmit;
  size_t row = 0;  // of the trace

  friend bool operator==(const ReplayEvent&, const ReplayEvent&) = default;
};

struct ReplayAnswer {
  std::optional<Millis> first_token;  // since the trace began
  std::optional<Millis> finished;     // or refused
  int64_t generated = 0;
  Millis longest_gap;  // between two of its tokens
  int64_t step_backs = 0;
};

struct Replay {
  std::vector<ReplayEvent> events;
  std::vector<ReplayAnswer> answers;  // by row
  Millis end;
};

// Plays the whole trace. blocks: of the cache. Rows whose prompt never fits it are refused.
// REQUIRES: a row's prompt and answer fit the context, or are meant to.
Replay replay_schedule(std::span<const TraceRow> trace, Scheduler& scheduler,
                       const StepCostModel& costs, int64_t blocks);

}  // namespace ration
