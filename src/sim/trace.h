// sim/trace.h - who asked for what, and when: recorded traffic, or drawn at random.
//
// A trace is text, one JSON object a line; empty lines and those that begin with '#' are skipped:
//
//   {"ms": 12.5, "prompt": 420, "answer": 64, "key": "home", "priority": 1, "model": "smollm2"}
//
// `ms`, `prompt` and `answer` must be there. To add a kind of arrivals: a function that returns
// times, and a test of its mean.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "base/unit.h"

namespace ration {

struct TraceRow {
  Millis at;               // since the trace began; not before the row above
  int64_t prompt = 0;      // tokens, at least 1
  int64_t answer = 0;      // tokens
  std::string key = {};    // who shares with whom: rows of one key count as one user
  int32_t priority = 0;    // higher first
  std::string model = {};  // empty: the only one
  std::optional<Millis> deadline = std::nullopt;  // since `at`; "deadline_ms" in the text

  friend bool operator==(const TraceRow&, const TraceRow&) = default;
};

// kInvalid names the line, and what was found there: broken JSON, an unknown or missing field, a
// number out of range, a time before the row above, or more than `rows_max` rows.
Result<std::vector<TraceRow>> parse_trace(std::string_view text, int64_t rows_max = 1'000'000);
std::string to_text(std::span<const TraceRow> trace);

// Times at which independent users ask, so many a second: exponential gaps.
std::vector<Millis> poisson_arrivals(Rng& rng, double a_second, Millis until);

// Traffic that comes in bursts: quiet and busy times of random lengths take turns, and in each the
// arrivals are Poisson (a Markov-modulated Poisson process of two states).
struct Bursts {
  double quiet_a_second = 0;
  double busy_a_second = 0;
  Millis quiet_mean;  // how long a quiet time lasts
  Millis busy_mean;
};
std::vector<Millis> burst_arrivals(Rng& rng, const Bursts& bursts, Millis until);

// An exponential draw.
double draw_exponential(Rng& rng, double mean);

}  // namespace ration
