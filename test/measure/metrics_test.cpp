#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "measure/measure.h"

namespace ration {
namespace {

constexpr double kBounds[] = {0.1, 1};
constexpr MetricFamily kFamilies[] = {
    {"ration_requests_total", MetricKind::kCounter, "Requests answered.", "model,code"},
    {"ration_waiting", MetricKind::kGauge, "Answers that wait."},
    {"ration_ttft_seconds", MetricKind::kHistogram, "To the first token.", "model", kBounds}};
enum Family : size_t { kRequests, kWaiting, kFirst };

TEST(Metrics, are_written_as_prometheus_reads_them) {
  Metrics metrics(kFamilies);
  metrics.add(kRequests, {"a", "200"});
  metrics.add(kRequests, {"a", "200"}, 2);
  metrics.add(kRequests, {"b", "503"});
  metrics.set(kWaiting, {}, 4.5);
  for (double seconds : {0.05, 0.1, 0.2, 7.0}) metrics.observe(kFirst, {"a"}, seconds);
  EXPECT_EQ(metrics.text(),
            "# HELP ration_requests_total Requests answered.\n"
            "# TYPE ration_requests_total counter\n"
            "ration_requests_total{model=\"a\",code=\"200\"} 3\n"
            "ration_requests_total{model=\"b\",code=\"503\"} 1\n"
            "# HELP ration_waiting Answers that wait.\n"
            "# TYPE ration_waiting gauge\n"
            "ration_waiting 4.5\n"
            "# HELP ration_ttft_seconds To the first token.\n"
            "# TYPE ration_ttft_seconds histogram\n"
            "ration_ttft_seconds_bucket{model=\"a\",le=\"0.1\"} 2\n"
            "ration_ttft_seconds_bucket{model=\"a\",le=\"1\"} 3\n"
            "ration_ttft_seconds_bucket{model=\"a\",le=\"+Inf\"} 4\n"
            "ration_ttft_seconds_sum{model=\"a\"} 7.35\n"
            "ration_ttft_seconds_count{model=\"a\"} 4\n");
}

TEST(Metrics, escape_what_labels_hold) {
  Metrics metrics(kFamilies);
  metrics.add(kRequests, {"a\"b\\c\nd\xff", "200"});
  EXPECT_NE(metrics.text().find("model=\"a\\\"b\\\\c\\nd\xEF\xBF\xBD\""), std::string::npos)
      << metrics.text();
}

TEST(Metrics, counters_never_fall) {
  Metrics metrics(kFamilies);
  for (double amount : {2.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                        std::numeric_limits<double>::infinity()}) {
    metrics.add(kRequests, {"a", "200"}, amount);
  }
  EXPECT_NE(metrics.text().find("code=\"200\"} 2\n"), std::string::npos);
}

TEST(Metrics, made_up_names_end_in_one_series) {
  Metrics metrics(kFamilies);
  for (int i = 0; i < 10'000; ++i) metrics.add(kRequests, {std::to_string(i), "404"});
  const std::string text = metrics.text();
  EXPECT_LE(std::ranges::count(text, '\n'), int64_t{Metrics::kSeriesMax} + 10);
  EXPECT_NE(text.find("{model=\"other\",code=\"other\"} 9744\n"), std::string::npos);
}

TEST(Metrics, forget_what_is_gone) {
  Metrics metrics(kFamilies);
  metrics.set(kWaiting, {}, 1);
  metrics.forget(kWaiting, {});
  EXPECT_EQ(metrics.text().find("\nration_waiting "), std::string::npos);
}

TEST(Metrics, are_counted_by_many_threads) {
  Metrics metrics(kFamilies);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) metrics.add(kRequests, {"a", "200"});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_NE(metrics.text().find("} 4000\n"), std::string::npos);
}

}  // namespace
}  // namespace ration
