// base/clock.h - time as a parameter: the same policy runs live and in the simulator.
#pragma once

#include <cstdint>

#include "base/unit.h"

namespace ration {

constexpr Millis to_millis(int64_t ns) { return Millis{static_cast<double>(ns) * 1e-6}; }

// Nanoseconds since an arbitrary start; never goes back. thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t now_ns() const = 0;

  Millis since(int64_t start_ns) const { return to_millis(now_ns() - start_ns); }
};

// The machine's monotonic clock.
class SteadyClock final : public Clock {
 public:
  int64_t now_ns() const override;
};

// Seconds since 1970, for timestamps people read (`created` in an answer). Nothing decides by it.
int64_t unix_seconds();

// A clock that tests and the simulator set by hand. single-thread.
class ManualClock final : public Clock {
 public:
  int64_t now_ns() const override { return now_ns_; }
  void advance(Millis span) { now_ns_ += static_cast<int64_t>(span.count * 1e6); }

 private:
  int64_t now_ns_ = 0;
};

}  // namespace ration
