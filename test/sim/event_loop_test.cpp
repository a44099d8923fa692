#include "sim/event_loop.h"

#include <gtest/gtest.h>

#include <string>

#include "base/rng.h"

namespace ration {
namespace {

TEST(EventLoop, events_come_by_time_and_then_in_the_order_they_were_planned) {
  EventLoop loop;
  std::string order;
  loop.at(Millis{2}, [&] { order += 'c'; });
  loop.at(Millis{1}, [&] {
    order += 'a';
    loop.after(Millis{1}, [&] { order += 'e'; });
    loop.after(Millis{0}, [&] { order += 'b'; });
  });
  loop.at(Millis{2}, [&] { order += 'd'; });
  loop.run();
  EXPECT_EQ(order, "abcde");
  EXPECT_EQ(loop.now(), Millis{2});
}

TEST(EventLoop, clock_shows_each_event_its_time_and_never_goes_back) {
  EventLoop loop;
  Rng rng(1);
  int64_t last_ns = 0;
  int events = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto ns = static_cast<int64_t>(rng.below(100));
    loop.at_ns(ns, [&, ns] {
      EXPECT_EQ(loop.now_ns(), ns);
      EXPECT_GE(ns, last_ns);
      last_ns = ns;
      ++events;
    });
  }
  loop.run();
  EXPECT_EQ(events, 1000);
  loop.at_ns(5, [&] { EXPECT_EQ(loop.now_ns(), last_ns); });  // has passed: now
  loop.run();
}

TEST(EventLoop, run_until_stops_between_events) {
  EventLoop loop;
  int events = 0;
  for (const double ms : {1.0, 2.0, 3.0}) loop.at(Millis{ms}, [&] { ++events; });
  loop.run_until(Millis{2});
  EXPECT_EQ(events, 2);
  loop.run_until(Millis{2.5});
  EXPECT_EQ(loop.now(), Millis{2.5});
  EXPECT_EQ(loop.pending(), 1);
}

}  // namespace
}  // namespace ration
