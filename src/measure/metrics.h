// measure/metrics.h - counters, gauges and histograms of a running program, as Prometheus reads
// them: text exposition format 0.0.4.
//
//   constexpr MetricFamily kFamilies[] = {
//       {"ration_requests_total", MetricKind::kCounter, "Requests answered.", "model,code"}};
//   Metrics metrics(kFamilies);
//   metrics.add(0, {"smollm2", "200"});
//   reply(metrics.text());
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ration {

enum class MetricKind : uint8_t { kCounter, kGauge, kHistogram };

// One name, whatever its labels. Names are in base units: seconds, bytes, joules.
struct MetricFamily {
  std::string_view name;
  MetricKind kind;
  std::string_view help;
  std::string_view labels = "";         // their names, with commas between
  std::span<const double> bounds = {};  // of a histogram's buckets, rising; +Inf is added
};

// Seconds of waiting, from a millisecond to ten minutes.
inline constexpr double kSecondBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                           1,     2.5,    5,     10,   30,    60,   300, 600};

// thread-safe.
class Metrics {
 public:
  using Labels = std::initializer_list<std::string_view>;  // values, in the family's order

  // REQUIRES: what the families point to outlives it.
  explicit Metrics(std::span<const MetricFamily> families);

  // Counters only rise: a negative amount is dropped, as is one that is no number.
  void add(size_t family, Labels labels, double amount = 1);
  void set(size_t family, Labels labels, double value);      // gauges
  void observe(size_t family, Labels labels, double value);  // histograms
  // Takes a gauge's series out again, such as that of a model that is gone.
  void forget(size_t family, Labels labels);

  // Every family with its help, also those that nothing was heard of yet.
  std::string text() const;

  // Beyond so many a family, what comes is counted under labels that are all "other": a stranger
  // who makes up names must not fill the memory.
  static constexpr size_t kSeriesMax = 256;

 private:
  struct Series {
    double value = 0;               // a histogram's sum
    std::vector<uint64_t> buckets;  // not cumulative; the last is +Inf
  };
  struct Table {
    MetricFamily family;
    std::vector<std::string_view> label_names;
    std::map<std::vector<std::string>, Series, std::less<>> series;
  };

  Series& at(size_t family, MetricKind kind, Labels labels);

  mutable std::mutex mutex_;
  std::vector<Table> tables_;
};

}  // namespace ration
