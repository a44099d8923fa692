#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "base/rng.h"
#include "memory_files.h"

namespace ration {
namespace {

// A machine whose true energy the test decides: time passes, watts flow, files show it.
struct World {
  MemoryFiles files;
  ManualClock clock;
  double joules = 50;         // since boot
  double busy_seconds = 100;  // of all programs
  double true_joules = 0;     // since the first reading

  explicit World(bool counter = true) {
    if (counter) show();
  }
  void show() {
    put_zone(files, "intel-rapl:0", "package-0", static_cast<int64_t>(joules * 1e6) % kRangeUj);
    const auto ticks =
        static_cast<int64_t>(busy_seconds * static_cast<double>(::sysconf(_SC_CLK_TCK)));
    files.put("/proc/stat", "cpu  " + std::to_string(ticks) + " 0 0 0 0 0 0 0 0 0\n");
  }
  // `cpus` of our threads and `others` of somebody else's run for the span.
  void pass(Millis span, double watts, double cpus = 0, double others = 0) {
    clock.advance(span);
    joules += watts * span.count * 1e-3;
    true_joules += watts * span.count * 1e-3;
    busy_seconds += (cpus + others) * span.count * 1e-3;
    show();
  }
  EnergyMeter meter(const Machine& machine = zen3_machine()) {
    return EnergyMeter(files, machine, {});
  }
};

Machine unknown_machine() {
  Machine machine = zen3_machine();
  machine.vendor = "nobody";
  return machine;
}

void expect_conserved(const EnergyAccount& account, double true_joules, double tolerance = 1e-6) {
  const double parts = account.requests.count + account.idle.count + account.outside.count;
  EXPECT_NEAR(parts, account.meter.count, 1e-9 * (1 + account.meter.count));
  EXPECT_NEAR(parts, true_joules, tolerance * (1 + true_joules));
}

// One step of 10 ms on 2 CPUs at `watts` for these requests.
void run_step(World& world, Attributor& attributor, std::span<const RequestWork> work, double watts,
              double span_ms = 10, double others = 0) {
  world.pass(Millis{span_ms}, watts, 2, others);
  attributor.step(
      {.cpu_seconds = 2e-3 * span_ms, .shared_bytes = Bytes{100'000'000}, .requests = work});
}

TEST(Attributor, a_lone_request_gets_what_flowed_above_idle) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  world.pass(Millis{5000}, 20);  // idle: 20 W
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1, .own_bytes = Bytes{1000}}};
  for (int i = 0; i < 200; ++i) run_step(world, attributor, work, 50);  // 2 s at 50 W
  const Energy energy = attributor.end(1);
  ASSERT_TRUE(energy.joules);
  EXPECT_EQ(energy.method, Method::kCounter);
  EXPECT_EQ(energy.scope, Scope::kPackage);
  EXPECT_EQ(energy.idle, Idle::kExcluded);
  EXPECT_NEAR(energy.joules->best.count, 60, 0.01);
  EXPECT_NEAR(energy.joules->low.count, 57, 0.01);
  EXPECT_NEAR(energy.joules->high.count, 63, 0.01);
  EXPECT_DOUBLE_EQ(energy.coverage, 1);
  EXPECT_DOUBLE_EQ(energy.concurrency, 1);
  EXPECT_TRUE(energy.calibration.empty());
  expect_conserved(attributor.counter_account(), world.true_joules);
  EXPECT_NEAR(attributor.counter_account().idle.count, 140, 0.01);
}

TEST(Attributor, idle_that_was_never_seen_cannot_be_excluded_and_says_so) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1}};
  for (int i = 0; i < 50; ++i) run_step(world, attributor, work, 50);
  const Energy energy = attributor.end(1);
  EXPECT_EQ(energy.idle, Idle::kShared);
  EXPECT_NEAR(energy.joules->best.count, 25, 0.01);
}

TEST(Attributor, shared_and_charged_idle_reach_the_request) {
  for (const Idle idle : {Idle::kShared, Idle::kCharged}) {
    World world;
    EnergyMeter meter = world.meter();
    Attributor attributor(meter, world.clock, {.idle = idle});
    world.pass(Millis{5000}, 20);
    attributor.begin(1);
    const RequestWork work[] = {{.request = 1, .tokens = 1}};
    for (int i = 0; i < 100; ++i) run_step(world, attributor, work, 50);
    const Energy energy = attributor.end(1);
    EXPECT_EQ(energy.idle, idle);
    EXPECT_NEAR(energy.joules->best.count, idle == Idle::kShared ? 50 : 150, 0.01);
    expect_conserved(attributor.counter_account(), world.true_joules);
  }
}

TEST(Attributor, other_programs_pay_for_themselves) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  world.pass(Millis{1000}, 20);
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1}};
  for (int i = 0; i < 200; ++i)
    run_step(world, attributor, work, 100, 10, 6);  // 2 CPUs of 8 are ours
  const Energy energy = attributor.end(1);
  EXPECT_EQ(energy.method, Method::kCounterAmortised);
  EXPECT_NEAR(energy.joules->best.count, 160 * 2.0 / 8, 0.5);
  EXPECT_NEAR(attributor.counter_account().outside.count, 160 * 6.0 / 8, 0.5);
  expect_conserved(attributor.counter_account(), world.true_joules);
}

TEST(Attributor, ticks_of_ten_milliseconds_do_not_invent_other_programs) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {.window = Millis{20}});
  world.pass(Millis{1000}, 20);
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1}};
  for (int i = 0; i < 500; ++i) run_step(world, attributor, work, 50, 7.3);
  static_cast<void>(attributor.end(1));
  const EnergyAccount account = attributor.counter_account();
  EXPECT_LT(account.outside.count, 0.02 * account.requests.count);
}

TEST(Attributor, splits_a_batch_by_tokens_and_own_bytes) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  world.pass(Millis{1000}, 10);
  attributor.begin(1);
  attributor.begin(2);
  attributor.begin(3);
  const RequestWork work[] = {{.request = 1, .tokens = 1},
                              {.request = 2, .tokens = 3},
                              {.request = 3, .tokens = 1, .own_bytes = Bytes{400'000'000}}};
  for (int i = 0; i < 100; ++i) run_step(world, attributor, work, 60);
  const double one = attributor.end(1).joules->best.count;
  const Energy two = attributor.end(2);
  const double three = attributor.end(3).joules->best.count;
  EXPECT_NEAR(two.joules->best.count, 3 * one, 1e-6);
  EXPECT_GT(three, one);
  EXPECT_NEAR(one + two.joules->best.count + three, 50, 0.01);
  EXPECT_NEAR(two.concurrency, 3, 1e-9);
  EXPECT_EQ(two.method, Method::kCounterAmortised);  // split by work, not measured alone
  EXPECT_NEAR(two.joules->high.count / two.joules->best.count, 1.15, 1e-9);
}

TEST(Attributor, a_short_request_is_amortised_over_what_such_work_cost_before) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  world.pass(Millis{1000}, 10);
  const RequestWork work[] = {{.request = 1, .tokens = 1}};
  attributor.begin(1);
  for (int i = 0; i < 100; ++i) run_step(world, attributor, work, 60);
  const double per_step = attributor.end(1).joules->best.count / 100;
  attributor.begin(1);
  run_step(world, attributor, work, 60);
  const Energy energy = attributor.end(1);
  EXPECT_EQ(energy.method, Method::kCounterAmortised);
  EXPECT_NEAR(energy.joules->best.count, per_step, 0.01 * per_step);
  expect_conserved(attributor.counter_account(), world.true_joules);
}

TEST(Attributor, the_first_request_too_short_to_measure_falls_to_the_model_or_to_null) {
  for (const bool known : {true, false}) {
    World world;
    EnergyMeter meter = world.meter(known ? zen3_machine() : unknown_machine());
    Attributor attributor(meter, world.clock, {});
    attributor.begin(1);
    const RequestWork work[] = {{.request = 1, .tokens = 1}};
    run_step(world, attributor, work, 60);
    const Energy energy = attributor.end(1);
    EXPECT_EQ(energy.joules.has_value(), known);
    EXPECT_EQ(energy.method, known ? Method::kPriorModel : Method::kUnknown);
    expect_conserved(attributor.counter_account(), world.true_joules);
  }
}

TEST(Attributor, nothing_known_is_null_never_zero) {
  World world(false);
  MemoryFiles empty;
  EnergyMeter meter(empty, unknown_machine(), {});
  Attributor attributor(meter, world.clock, {});
  attributor.begin(7);
  const RequestWork work[] = {{.request = 7, .tokens = 5}};
  for (int i = 0; i < 50; ++i) {
    world.clock.advance(Millis{10});
    attributor.step({.cpu_seconds = 0.02, .shared_bytes = Bytes{1000}, .requests = work});
  }
  EXPECT_FALSE(attributor.so_far(7).joules);
  const Energy energy = attributor.end(7);
  EXPECT_FALSE(energy.joules);
  EXPECT_EQ(energy.method, Method::kUnknown);
  EXPECT_EQ(energy.scope, Scope::kUnknown);
  EXPECT_EQ(energy.coverage, 0);
}

TEST(Attributor, the_model_bills_cpu_bytes_and_keeps_idle_apart) {
  MemoryFiles empty;
  ManualClock clock;
  EnergyMeter meter(empty, zen3_machine(), {});
  const EnergyModel& model = meter.model();
  Attributor attributor(meter, clock, {});
  clock.advance(Millis{1000});
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1, .own_bytes = Bytes{5'000'000}}};
  for (int i = 0; i < 100; ++i) {
    clock.advance(Millis{10});
    attributor.step({.cpu_seconds = 0.02, .shared_bytes = Bytes{100'000'000}, .requests = work});
  }
  const Energy energy = attributor.end(1);
  const double expected = 2 * model.watts_busy + 100 * 105e6 * 1e-12 * model.picojoules_per_byte;
  ASSERT_TRUE(energy.joules);
  EXPECT_NEAR(energy.joules->best.count, expected, 1e-9);
  EXPECT_NEAR(energy.joules->low.count, expected / 2, 1e-9);
  EXPECT_NEAR(energy.joules->high.count, expected * 2, 1e-9);
  EXPECT_EQ(energy.method, Method::kPriorModel);
  EXPECT_EQ(energy.scope, Scope::kPackageDram);
  EXPECT_EQ(energy.calibration, "amd-zen3-server");
  EXPECT_EQ(energy.coverage, 1);
  EXPECT_NEAR(attributor.model_account().idle.count, 2 * model.watts_idle, 1e-9);
  expect_conserved(attributor.model_account(), expected + 2 * model.watts_idle);
}

TEST(Attributor, a_counter_that_vanishes_hands_the_whole_request_to_the_model) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  world.pass(Millis{1000}, 10);
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1}};
  for (int i = 0; i < 50; ++i) run_step(world, attributor, work, 60);
  EXPECT_EQ(attributor.so_far(1).method, Method::kCounter);
  for (int i = 0; i < 50; ++i) {
    world.clock.advance(Millis{10});
    world.files.remove(energy_path("intel-rapl:0"));
    attributor.step({.cpu_seconds = 0.02, .shared_bytes = Bytes{100'000'000}, .requests = work});
  }
  const Energy energy = attributor.end(1);
  EXPECT_EQ(energy.method, Method::kPriorModel);
  EXPECT_NEAR(energy.joules->best.count,
              100 * (0.02 * meter.model().watts_busy + 1e-4 * meter.model().picojoules_per_byte),
              1e-9);
}

TEST(Attributor, a_short_gap_in_the_counter_lowers_coverage_and_raises_the_high_bound) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  world.pass(Millis{1000}, 10);
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1}};
  for (int i = 0; i < 400; ++i) {
    world.pass(Millis{10}, 60, 2);
    if (i >= 205 && i < 215) world.files.remove(energy_path("intel-rapl:0"));
    attributor.step({.cpu_seconds = 0.02, .shared_bytes = Bytes{100'000'000}, .requests = work});
  }
  const Energy energy = attributor.end(1);
  EXPECT_EQ(energy.method, Method::kCounter);
  // One window could not be read, and the next had nothing to start from.
  EXPECT_NEAR(energy.coverage, 0.95, 1e-6);
  EXPECT_NEAR(energy.joules->best.count, 200 * 0.95, 0.01);
  EXPECT_NEAR(energy.joules->high.count, energy.joules->best.count * 1.05 / energy.coverage, 1e-9);
  EXPECT_GE(energy.joules->high.count, 200);
}

TEST(Attributor, so_far_rises_and_meets_the_end) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  world.pass(Millis{1000}, 10);
  attributor.begin(1);
  const RequestWork work[] = {{.request = 1, .tokens = 1}};
  double last = 0;
  for (int i = 0; i < 300; ++i) {
    run_step(world, attributor, work, 60);
    if (i < 20) continue;
    const Energy now = attributor.so_far(1);
    ASSERT_TRUE(now.joules);
    ASSERT_GE(now.joules->best.count, last - 1e-6);
    last = now.joules->best.count;
    EXPECT_NEAR(last, 0.5 * (i + 1), 0.02 * last);
  }
  EXPECT_NEAR(attributor.end(1).joules->best.count, last, 0.02 * last);
}

// What random traffic was billed, for comparing runs.
struct Outcome {
  std::vector<double> bills;
  EnergyAccount counter;
  EnergyAccount modelled;
  double true_joules = 0;
};

Outcome random_traffic(uint64_t seed, bool known_cpu) {
  World world;
  EnergyMeter meter = world.meter(known_cpu ? zen3_machine() : unknown_machine());
  Rng rng(seed);
  const Idle idle = static_cast<Idle>(rng.below(3));
  Attributor attributor(meter, world.clock,
                        {.idle = idle, .window = Millis{20 + 100 * rng.uniform()}});
  Outcome outcome;
  std::map<uint64_t, int> open;  // request -> steps left
  uint64_t next = 1;
  for (int round = 0; round < 3000; ++round) {
    if (open.size() < 16 && rng.below(8) == 0) {
      attributor.begin(next);
      open[next++] = static_cast<int>(1 + rng.below(60));
    }
    const double watts = 10 + 90 * rng.uniform();
    if (open.empty()) {
      world.pass(Millis{400 * rng.uniform()}, watts, 0, rng.uniform());
      continue;
    }
    std::vector<RequestWork> work;
    for (auto& [id, left] : open) {
      if (rng.below(4) == 0) continue;  // waits this time
      work.push_back({.request = id,
                      .tokens = static_cast<int64_t>(rng.below(64)),
                      .own_bytes = Bytes{static_cast<int64_t>(rng.below(10'000'000))}});
      --left;
    }
    const double span = 0.5 + 30 * rng.uniform();
    world.pass(Millis{span}, watts, 2, 2 * rng.uniform());
    attributor.step(
        {.cpu_seconds = 2e-3 * span, .shared_bytes = Bytes{50'000'000}, .requests = work});
    for (auto it = open.begin(); it != open.end();) {
      if (it->second > 0) {
        ++it;
        continue;
      }
      const Energy energy = attributor.end(it->first);
      EXPECT_TRUE(!energy.joules || energy.joules->low <= energy.joules->best);
      EXPECT_TRUE(!energy.joules || energy.joules->best <= energy.joules->high);
      outcome.bills.push_back(energy.joules ? energy.joules->best.count : -1);
      it = open.erase(it);
    }
  }
  for (const auto& [id, left] : open) static_cast<void>(attributor.end(id));
  // Close the last gap, so that the meter has seen everything.
  attributor.begin(next);
  static_cast<void>(attributor.end(next));
  outcome.counter = attributor.counter_account();
  outcome.modelled = attributor.model_account();
  outcome.true_joules = world.true_joules;
  return outcome;
}

TEST(Attributor, conserves_every_joule_under_random_batches) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const Outcome outcome = random_traffic(seed, seed % 2 == 0);
    expect_conserved(outcome.counter, outcome.true_joules);
    const EnergyAccount& model = outcome.modelled;
    EXPECT_NEAR(model.requests.count + model.idle.count + model.outside.count, model.meter.count,
                1e-9 * (1 + model.meter.count));
    EXPECT_EQ(model.meter.count > 0, seed % 2 == 0);
    EXPECT_GT(outcome.counter.requests.count, 0);
    EXPECT_GE(outcome.counter.outside.count, 0);
    // Corrections of estimates may make the idle bucket a little less than was idle, no more.
    EXPECT_GE(outcome.counter.idle.count, -0.01 * outcome.true_joules);
  }
}

TEST(Attributor, is_deterministic) {
  const Outcome first = random_traffic(42, true);
  const Outcome second = random_traffic(42, true);
  EXPECT_EQ(first.bills, second.bills);
  EXPECT_EQ(first.counter.idle, second.counter.idle);
  EXPECT_GT(first.bills.size(), 20u);
}

TEST(AttributorDeathTest, refuses_requests_that_are_not_open_or_open_twice) {
  World world;
  EnergyMeter meter = world.meter();
  Attributor attributor(meter, world.clock, {});
  attributor.begin(1);
  EXPECT_DEATH(attributor.begin(1), "open already");
  EXPECT_DEATH(static_cast<void>(attributor.end(2)), "not open");
}

}  // namespace
}  // namespace ration
