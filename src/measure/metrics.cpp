#include "measure/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/text.h"

namespace ration {
namespace {

std::string_view kind_name(MetricKind kind) {
  switch (kind) {
    case MetricKind::kCounter:
      return "counter";
    case MetricKind::kGauge:
      return "gauge";
    case MetricKind::kHistogram:
      return "histogram";
  }
  return "";
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

// A label's value between quotes.
std::string escaped(std::string_view text) {
  std::string out;
  for (char c : to_valid_utf8(text)) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string label_text(std::span<const std::string_view> names,
                       std::span<const std::string> values) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    out += fmt::format("{}{}=\"{}\"", i > 0 ? "," : "", names[i], escaped(values[i]));
  }
  return out;
}

}  // namespace

Metrics::Metrics(std::span<const MetricFamily> families) {
  for (const MetricFamily& family : families) {
    Table table{.family = family};
    for (std::string_view rest = family.labels; !rest.empty();) {
      const size_t comma = std::min(rest.find(','), rest.size());
      table.label_names.push_back(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    CHECK((family.kind == MetricKind::kHistogram) == !family.bounds.empty());
    tables_.push_back(std::move(table));
  }
}

Metrics::Series& Metrics::at(size_t family, MetricKind kind, Labels labels) {
  Table& table = tables_.at(family);
  CHECK(table.family.kind == kind && labels.size() == table.label_names.size(),
        std::string(table.family.name));
  std::vector<std::string> values(labels.begin(), labels.end());
  if (!table.series.contains(values) && table.series.size() >= kSeriesMax) {
    std::ranges::fill(values, "other");
  }
  Series& series = table.series[std::move(values)];
  if (kind == MetricKind::kHistogram) series.buckets.resize(table.family.bounds.size() + 1);
  return series;
}

void Metrics::add(size_t family, Labels labels, double amount) {
  const std::lock_guard lock(mutex_);
  Series& series = at(family, MetricKind::kCounter, labels);
  if (amount > 0 && std::isfinite(amount)) series.value += amount;
}

void Metrics::set(size_t family, Labels labels, double value) {
  const std::lock_guard lock(mutex_);
  at(family, MetricKind::kGauge, labels).value = value;
}

void Metrics::observe(size_t family, Labels labels, double value) {
  const std::lock_guard lock(mutex_);
  Series& series = at(family, MetricKind::kHistogram, labels);
  if (!std::isfinite(value)) return;
  const std::span<const double> bounds = tables_[family].family.bounds;
  const auto bucket = std::ranges::lower_bound(bounds, value) - bounds.begin();
  ++series.buckets[static_cast<size_t>(bucket)];
  series.value += value;
}

void Metrics::forget(size_t family, Labels labels) {
  const std::lock_guard lock(mutex_);
  tables_.at(family).series.erase(std::vector<std::string>(labels.begin(), labels.end()));
}

std::string Metrics::text() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const Table& table : tables_) {
    const MetricFamily& family = table.family;
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", family.name, family.help, family.name,
                       kind_name(family.kind));
    for (const auto& [values, series] : table.series) {
      const std::string labels = label_text(table.label_names, values);
      const std::string braced = labels.empty() ? "" : "{" + labels + "}";
      if (family.kind != MetricKind::kHistogram) {
        out += fmt::format("{}{} {}\n", family.name, braced, number(series.value));
        continue;
      }
      uint64_t count = 0;
      for (size_t i = 0; i < series.buckets.size(); ++i) {
        count += series.buckets[i];
        const std::string bound =
            i < family.bounds.size() ? number(family.bounds[i]) : std::string("+Inf");
        out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", family.name, labels,
                           labels.empty() ? "" : ",", bound, count);
      }
      out += fmt::format("{0}_sum{1} {2}\n{0}_count{1} {3}\n", family.name, braced,
                         number(series.value), count);
    }
  }
  return out;
}

}  // namespace ration
