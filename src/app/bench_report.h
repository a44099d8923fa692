// app/bench_report.h - what `ration bench` measured: the figures, a table for people, and JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "measure/measure.h"

namespace ration {

// One kind of work, done a few times. What it amounts to is the same in every round, or nearly.
struct BenchWork {
  std::string name;       // "decode 64 x 4"
  int64_t tokens = 0;     // of a round, all sequences
  int64_t steps = 0;      // of a round
  double read_bytes = 0;  // weights and cached keys and values that a round read
  double operations = 0;  // 2 * parameters multiplied, of a round
  std::vector<Millis> rounds{};
  Energy energy{};  // of one token

  double tokens_per_second(Millis span) const { return per_second(double(tokens), span); }
  double read_per_second() const { return per_second(read_bytes, median()); }
  double operations_per_second() const { return per_second(operations, median()); }
  Millis step() const { return Millis{median().count / static_cast<double>(steps)}; }
  // REQUIRES: there is a round.
  Millis median() const;
  Millis least() const;
  Millis most() const;

 private:
  static double per_second(double amount, Millis span) { return amount / span.count * 1000; }
};

struct BenchReport {
  std::string model;
  std::string family;
  std::string isa;
  int threads = 1;
  int64_t prefill_tokens = 0;  // as asked for
  int64_t decode_tokens = 0;
  int64_t sequences = 1;
  int64_t depth = 0;
  int64_t rounds = 0;
  std::optional<BenchWork> prefill{};
  std::optional<BenchWork> decode{};   // at `depth`
  std::optional<BenchWork> shallow{};  // decode at depth 0, where `depth` is more
  Millis load{};
  Millis first_token{};  // from the start of loading to the first token after a short prompt
  int64_t first_prompt = 0;
  Bytes file{};
  Bytes step_weights{};
  Bytes peak{};  // of the budget
  std::optional<Bytes> resident{};
  std::optional<Bytes> resident_peak{};
  Roofs roofs{};
  Machine machine{};

  // What `depth` tokens in the cache add to a step.
  std::optional<Millis> depth_adds() const;
};

std::string to_json(const BenchReport& report);
// At most 80 columns.
std::string to_text(const BenchReport& report);

}  // namespace ration
