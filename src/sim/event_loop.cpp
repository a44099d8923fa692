#include "sim/event_loop.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace ration {
namespace {

int64_t to_ns(Millis time) { return std::llround(time.count * 1e6); }

}  // namespace

bool EventLoop::later(const Planned& a, const Planned& b) {
  return std::tie(a.ns, a.number) > std::tie(b.ns, b.number);
}

void EventLoop::at_ns(int64_t ns, Event event) {
  heap_.push_back({std::max(ns, now_ns_), planned_++, std::move(event)});
  std::ranges::push_heap(heap_, later);
}

void EventLoop::at(Millis time, Event event) { at_ns(to_ns(time), std::move(event)); }

void EventLoop::after(Millis span, Event event) { at_ns(now_ns_ + to_ns(span), std::move(event)); }

bool EventLoop::step() {
  if (heap_.empty()) return false;
  std::ranges::pop_heap(heap_, later);
  const Planned next = std::move(heap_.back());
  heap_.pop_back();
  now_ns_ = next.ns;
  next.event();
  return true;
}

void EventLoop::run() {
  while (step()) {
  }
}

void EventLoop::run_until(Millis time) {
  const int64_t end_ns = to_ns(time);
  while (!heap_.empty() && heap_.front().ns <= end_ns) step();
  now_ns_ = std::max(now_ns_, end_ns);
}

}  // namespace ration
