#include <gtest/gtest.h>

#include "measure/measure.h"

namespace ration {
namespace {

// Every look at it takes ten milliseconds.
class TickingClock final : public Clock {
 public:
  int64_t now_ns() const override { return now_ns_ += 10'000'000; }

 private:
  mutable int64_t now_ns_ = 0;
};

struct Room {
  Pool pool{2};
  TickingClock clock;
  Machine machine{.l3_bytes = Bytes{2 * kMiB}};
  const Kernels& kernels = *available_kernels().front();

  Roofs measure(Budget& budget) { return measure_roofs(kernels, pool, clock, budget, machine); }
};

TEST(Roofs, are_what_was_done_over_the_time_it_took) {
  Room room;
  Budget budget("machine", {.hard = Bytes{100 * kMiB}});
  const Roofs roofs = room.measure(budget);
  EXPECT_EQ(roofs.read_set, Bytes{16 * kMiB});
  EXPECT_DOUBLE_EQ(roofs.read_per_second.value(), 16.0 * kMiB / 0.01);
  EXPECT_DOUBLE_EQ(
      roofs.multiply_per_second,
      200'000 * 2 * static_cast<double>(room.kernels.probes.operations_a_round) / 0.01);
  EXPECT_EQ(roofs.remark, "");
  EXPECT_EQ(budget.report().used_total, Bytes{0});
  EXPECT_EQ(budget.report().peak_total, Bytes{16 * kMiB});
}

TEST(Roofs, say_so_when_the_budget_holds_only_what_a_cache_holds) {
  Room room;
  Budget budget("machine", {.hard = Bytes{5 * kMiB}});
  const Roofs roofs = room.measure(budget);
  EXPECT_EQ(roofs.read_set, Bytes{5 * kMiB});
  EXPECT_TRUE(roofs.read_per_second);
  EXPECT_NE(roofs.remark.find("5.24 MB where 16.8 MB are wanted"), std::string::npos)
      << roofs.remark;
}

TEST(Roofs, leave_reading_out_when_there_is_no_memory_for_it) {
  Room room;
  Budget budget("machine", {.hard = Bytes{kMiB}});
  const Roofs roofs = room.measure(budget);
  EXPECT_FALSE(roofs.read_per_second);
  EXPECT_GT(roofs.multiply_per_second, 0);
  EXPECT_NE(roofs.remark.find("no memory"), std::string::npos) << roofs.remark;
  std::string json;
  append_json(json, roofs);
  EXPECT_NE(json.find("\"read_gigabytes_per_second\":null"), std::string::npos) << json;
}

}  // namespace
}  // namespace ration
