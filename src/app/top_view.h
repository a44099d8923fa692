// app/top_view.h - what `ration top` shows: two readings of /metrics and what lies between them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unit.h"

namespace ration {

// One reading: values by name and labels, as they are written: "ration_memory_bytes{kind=\"kv\"}".
class MetricsReading {
 public:
  // Bounded by the text. kInvalid for a line that is no metric.
  static Result<MetricsReading> parse(std::string_view text);

  // Of the name, over all labels; of those that hold `label`, such as "kind=\"kv\"".
  double sum(std::string_view name, std::string_view label = "") const;
  bool has(std::string_view name) const;
  // The values of one label of a name, with their sums; of those that hold `having`, as above.
  std::map<std::string, double> by(std::string_view name, std::string_view label,
                                   std::string_view having = "") const;

 private:
  struct Entry {
    std::string name;
    std::string labels;  // between the braces
    double value = 0;
  };
  std::vector<Entry> entries_;
};

// Of a histogram's observations between two readings; null when there were none. The bucket is cut
// evenly, and what is beyond the last bound is that bound.
std::optional<double> quantile_between(const MetricsReading& before, const MetricsReading& now,
                                       std::string_view name, double share);

// Lines for a terminal. before: the reading `span` ago, or an empty one and what passed since the
// server started.
std::string top_text(std::string_view url, const MetricsReading& before, const MetricsReading& now,
                     Millis span);

}  // namespace ration
