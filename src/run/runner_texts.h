// run/runner_texts.h - a request for the vectors of texts. Private to the runner's files.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "run/runner.h"

namespace ration {

struct Runner::TextsJob {
  RequestId id;
  Listener& listener;
  std::optional<Millis> deadline;
  Millis load;
  uint64_t first = 0;  // of its texts' numbers, which follow each other
  int64_t tokens = 0;  // of all texts
  std::vector<std::vector<float>> vectors{};
  size_t left = 0;  // texts without a vector
  bool cancelled = false;
  bool done = false;
  int64_t submitted_ns = 0;
  std::optional<int64_t> started_ns{};
};

}  // namespace ration
