// plan/replay_residency.h - the residency of models on a simulated clock: how often a trace makes
// it load, and how long requests wait for that. Private to plan/; plan/plan.h hands it on.
//
// One engine serves answers one after the other, a loader brings models in beside it; everything
// else is the live policy.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "plan/residency.h"
#include "sim/trace.h"

namespace ration {

struct ReplayModel {
  std::string name;
  Bytes bytes;
  Millis load;
  Millis answer;  // what serving a request takes
  std::optional<Millis> keep_alive = std::nullopt;
  bool pinned = false;
};

struct ResidencyReplay {
  int64_t loads = 0;
  int64_t unloads = 0;
  int64_t answers = 0;
  Bytes peak;                 // of bytes that were in or being loaded
  Millis loading;             // in all
  std::vector<Millis> waits;  // from arrival to the beginning of the answer, in that order
  Millis end;
};

// REQUIRES: the trace names models of the list, and each of them can be had.
ResidencyReplay replay_residency(std::span<const TraceRow> trace,
                                 std::span<const ReplayModel> models,
                                 const ResidencyOptions& options);

}  // namespace ration
