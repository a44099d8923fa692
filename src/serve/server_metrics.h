// serve/server_metrics.h - what GET /metrics tells: one table of names, and what is counted where.
// Times are differences of one monotonic clock. Private to serve/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/budget.h"
#include "measure/measure.h"

namespace ration {

// What is true at the moment of looking.
struct ServerGauges {
  int64_t active = 0;
  int64_t waiting = 0;
  int64_t connections = 0;
  double uptime_seconds = 0;
  Bytes memory_limit{};
  BudgetReport memory{};
};

// thread-safe.
class ServerMetrics {
 public:
  // model: its name, the label of what belongs to one.
  explicit ServerMetrics(std::string model);

  // A request has its answer, or its refusal; path: a route's.
  void answered(std::string_view path, int status);
  // The client went away, or the connection was broken off, before the end.
  void broken_off(std::string_view path);
  void first_token(Millis since_arrival);
  void next_token(Millis since_last);
  void finished(const Bill& bill, Millis since_arrival);

  std::string text(const ServerGauges& gauges);

 private:
  const std::string model_;
  Metrics metrics_;
};

}  // namespace ration
