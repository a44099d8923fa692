// sim/event_loop.h - a clock that jumps from event to event: where policies are replayed.
//
//   EventLoop loop;
//   loop.after(Millis{5}, [&] { ... });   // events may plan further ones
//   loop.run();
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"

namespace ration {

// Events happen in the order of their times, and at one time in the order they were planned: a run
// is the same every time. single-thread.
class EventLoop final : public Clock {
 public:
  using Event = std::function<void()>;

  int64_t now_ns() const override { return now_ns_; }
  Millis now() const { return to_millis(now_ns_); }

  // A time that has passed is now: the clock never goes back.
  void at_ns(int64_t ns, Event event);
  void at(Millis time, Event event);
  void after(Millis span, Event event);

  // Runs the next event. False when none is left.
  bool step();
  // Until no event is left.
  void run();
  // All events up to and at that time, at which the clock then stands.
  void run_until(Millis time);

  int64_t pending() const { return static_cast<int64_t>(heap_.size()); }

 private:
  struct Planned {
    int64_t ns;
    uint64_t number;
    Event event;
  };
  static bool later(const Planned& a, const Planned& b);

  std::vector<Planned> heap_;  // the next one in front
  int64_t now_ns_ = 0;
  uint64_t planned_ = 0;
};

}  // namespace ration
