#include "sim/trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr double kMillisMax = 1e12;  // thirty years
constexpr int64_t kTokensMax = 1'000'000'000;
constexpr int64_t kPriorityMax = 1'000'000;
constexpr size_t kNameBytesMax = 256;

// Reads the fields of one line; remembers the first thing that is wrong.
class RowReader {
 public:
  explicit RowReader(const Json& row) : row_(row) {}

  std::optional<double> millis(const char* name, bool needed) {
    const Json* value = find(name, needed);
    if (!value) return std::nullopt;
    const double millis = value->is_number() ? value->get<double>() : -1;
    if (millis >= 0 && millis <= kMillisMax) return millis;
    complain(
        fmt::format("found \"{}\": {}, wanted milliseconds from 0 to 1e12", name, to_text(*value)));
    return std::nullopt;
  }
  int64_t integer(const char* name, bool needed, int64_t least, int64_t most) {
    const Json* value = find(name, needed);
    if (!value) return 0;
    // An unsigned number above the signed ones is read as negative, and out of range for tokens.
    const bool in_range = value->is_number_integer() && value->get<int64_t>() >= least &&
                          value->get<int64_t>() <= most &&
                          (!value->is_number_unsigned() || value->get<uint64_t>() <= kTop);
    if (in_range) return value->get<int64_t>();
    complain(fmt::format("found \"{}\": {}, wanted an integer from {} to {}", name, to_text(*value),
                         least, most));
    return 0;
  }
  std::string text(const char* name) {
    const Json* value = find(name, false);
    if (!value) return "";
    if (value->is_string() && value->get_ref<const std::string&>().size() <= kNameBytesMax) {
      return value->get<std::string>();
    }
    complain(fmt::format("found \"{}\": {:.40}, wanted a string of at most {} bytes", name,
                         to_text(*value), kNameBytesMax));
    return "";
  }
  const std::string& problem() const { return problem_; }

 private:
  static constexpr auto kTop = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

  const Json* find(const char* name, bool needed) {
    const auto found = row_.find(name);
    if (found != row_.end()) return &*found;
    if (needed) complain(fmt::format("found no \"{}\"", name));
    return nullptr;
  }
  void complain(std::string words) {
    if (problem_.empty()) problem_ = std::move(words);
  }

  const Json& row_;
  std::string problem_;
};

Result<TraceRow> parse_row(std::string_view line) {
  static constexpr std::array<std::string_view, 7> kFields{
      "ms", "prompt", "answer", "key", "priority", "model", "deadline_ms"};
  const Result<Json> json = parse_json(line, 4);
  if (!json) return json.error();
  if (!json->is_object()) return Error{Code::kInvalid, "found no JSON object"};
  for (const auto& [name, value] : json->items()) {
    if (std::ranges::find(kFields, name) == kFields.end()) {
      return Error{Code::kInvalid, fmt::format("found an unknown field \"{:.40}\"", name)};
    }
  }
  RowReader reader(*json);
  TraceRow row{.at = Millis{reader.millis("ms", true).value_or(0)},
               .prompt = reader.integer("prompt", true, 1, kTokensMax),
               .answer = reader.integer("answer", true, 0, kTokensMax),
               .key = reader.text("key"),
               .priority = static_cast<int32_t>(
                   reader.integer("priority", false, -kPriorityMax, kPriorityMax)),
               .model = reader.text("model")};
  if (const auto deadline = reader.millis("deadline_ms", false)) row.deadline = Millis{*deadline};
  if (!reader.problem().empty()) return Error{Code::kInvalid, reader.problem()};
  return row;
}

}  // namespace

Result<std::vector<TraceRow>> parse_trace(std::string_view text, int64_t rows_max) {
  std::vector<TraceRow> rows;
  int64_t number = 0;
  const auto refuse = [&](std::string_view words) {
    return Error{Code::kInvalid, fmt::format("line {} of the trace: {}", number, words)};
  };
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    ++number;
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string_view::npos || line[begin] == '#') continue;
    if (static_cast<int64_t>(rows.size()) == rows_max) {
      return refuse(fmt::format("found more than {} rows, wanted at most that", rows_max));
    }
    Result<TraceRow> row = parse_row(line);
    if (!row) return refuse(row.error().message);
    if (!rows.empty() && row->at < rows.back().at) {
      return refuse(fmt::format("found {} ms after {} ms, wanted rows in the order of their times",
                                row->at.count, rows.back().at.count));
    }
    rows.push_back(std::move(*row));
  }
  return rows;
}

std::string to_text(std::span<const TraceRow> trace) {
  std::string text;
  for (const TraceRow& row : trace) {
    text += fmt::format("{{\"ms\":{},\"prompt\":{},\"answer\":{}", row.at.count, row.prompt,
                        row.answer);
    if (!row.key.empty()) append_json_string(text += ",\"key\":", row.key);
    if (row.priority != 0) text += fmt::format(",\"priority\":{}", row.priority);
    if (!row.model.empty()) append_json_string(text += ",\"model\":", row.model);
    if (row.deadline) text += fmt::format(",\"deadline_ms\":{}", row.deadline->count);
    text += "}\n";
  }
  return text;
}

double draw_exponential(Rng& rng, double mean) { return -mean * std::log1p(-rng.uniform()); }

std::vector<Millis> poisson_arrivals(Rng& rng, double a_second, Millis until) {
  CHECK(a_second > 0);
  std::vector<Millis> times;
  Millis now;
  while (true) {
    now += Millis{draw_exponential(rng, 1000 / a_second)};
    if (now >= until) return times;
    times.push_back(now);
  }
}

std::vector<Millis> burst_arrivals(Rng& rng, const Bursts& bursts, Millis until) {
  CHECK(bursts.quiet_mean.count > 0 && bursts.busy_mean.count > 0);
  std::vector<Millis> times;
  bool busy = false;
  for (Millis begin; begin < until; busy = !busy) {
    const Millis mean = busy ? bursts.busy_mean : bursts.quiet_mean;
    const double rate = busy ? bursts.busy_a_second : bursts.quiet_a_second;
    const Millis end = std::min(begin + Millis{draw_exponential(rng, mean.count)}, until);
    if (rate > 0) {
      // Without memory: each time starts afresh.
      for (Millis time : poisson_arrivals(rng, rate, end - begin)) times.push_back(begin + time);
    }
    begin = end;
  }
  return times;
}

}  // namespace ration
