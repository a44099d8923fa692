// serve/server_metrics.h - what GET /metrics tells: one table of names, and what is counted where.
// Times are differences of one monotonic clock. Private to serve/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/budget.h"
#include "measure/measure.h"

namespace ration {

// What is true at the moment of looking.
struct ServerGauges {
  std::vector<std::string_view> states;  // of the models: "unloaded", "loading", "loaded"
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
  // models: their names, the labels of what belongs to one; known by their index below.
  explicit ServerMetrics(std::vector<std::string> models);

  // A request has its answer, or its refusal; path: a route's.
  void answered(size_t model, std::string_view path, int status);
  // The client went away, or the connection was broken off, before the end.
  void broken_off(size_t model, std::string_view path);
  void first_token(size_t model, Millis since_arrival);
  void next_token(size_t model, Millis since_last);
  void finished(size_t model, const Bill& bill, Millis since_arrival);
  void loaded(size_t model, Millis took);
  void load_failed(size_t model);
  void unloaded(size_t model, std::string_view reason);

  std::string text(const ServerGauges& gauges);

 private:
  const std::vector<std::string> models_;
  Metrics metrics_;
};

}  // namespace ration
