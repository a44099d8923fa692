#include "base/budget.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/rng.h"

namespace ration {
namespace {

TEST(Budget, counts_on_the_node_and_on_every_node_above) {
  Budget root("root", {.hard = Bytes{1000}});
  auto child = root.grant("child", {.hard = Bytes{600}});
  Result<Charge> charge = child->reserve(Tag::kKv, Bytes{400});
  ASSERT_TRUE(charge);
  EXPECT_EQ(child->report().used_total, Bytes{400});
  EXPECT_EQ(root.report().used_total, Bytes{400});
  EXPECT_EQ(child->available(), Bytes{200});
}

TEST(Budget, refuses_with_the_shortfall_and_takes_nothing) {
  Budget root("root", {.hard = Bytes{1000}});
  auto child = root.grant("child", {.hard = Bytes{600}});
  Result<Charge> refused = child->reserve(Tag::kKv, Bytes{700});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kOverBudget);
  ASSERT_TRUE(refused.error().shortfall);
  EXPECT_EQ(refused.error().shortfall->wanted, 700);
  EXPECT_EQ(refused.error().shortfall->available, 600);
  EXPECT_EQ(refused.error().shortfall->missing(), 100);
  EXPECT_NE(refused.error().message.find("child"), std::string::npos);
  EXPECT_EQ(root.report().used_total, Bytes{0});
}

TEST(Budget, parent_binds_before_a_generous_child) {
  Budget root("root", {.hard = Bytes{100}});
  auto child = root.grant("child", {.hard = Bytes{1000}});
  Result<Charge> refused = child->reserve(Tag::kIo, Bytes{101});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("root"), std::string::npos);
}

TEST(Budget, settle_and_release_give_back) {
  Budget root("root", {.hard = Bytes{100}});
  {
    Result<Charge> charge = root.reserve(Tag::kScratch, Bytes{90});
    ASSERT_TRUE(charge);
    charge->settle(Bytes{30});
    EXPECT_EQ(root.available(), Bytes{70});
    EXPECT_TRUE(charge->grow(Bytes{70}));
    EXPECT_FALSE(charge->grow(Bytes{1}));
    EXPECT_EQ(charge->bytes(), Bytes{100});
  }
  EXPECT_EQ(root.available(), Bytes{100});
  EXPECT_EQ(root.report().peak_total, Bytes{100});
}

TEST(Budget, peaks_are_kept_by_tag_and_restart) {
  Budget root("root", {.hard = Bytes{100}});
  Result<Charge> weights = root.reserve(Tag::kWeights, Bytes{40});
  {
    Result<Charge> kv = root.reserve(Tag::kKv, Bytes{50});
  }
  BudgetReport report = root.report();
  EXPECT_EQ(report.peak[static_cast<size_t>(Tag::kKv)], Bytes{50});
  EXPECT_EQ(report.peak_total, Bytes{90});
  root.reset_peaks();
  report = root.report();
  EXPECT_EQ(report.peak[static_cast<size_t>(Tag::kKv)], Bytes{0});
  EXPECT_EQ(report.peak_total, Bytes{40});
}

TEST(Budget, bytes_can_come_to_be_for_something_else) {
  Budget root("root", {.hard = Bytes{100}});
  const std::unique_ptr<Budget> child = root.grant("child", {.hard = Bytes{50}});
  Result<Charge> charge = child->reserve(Tag::kKv, Bytes{30});
  ASSERT_TRUE(charge);
  charge->retag(Tag::kPrefix);
  for (const Budget* node : {&root, child.get()}) {
    const BudgetReport report = node->report();
    EXPECT_EQ(report.used[static_cast<size_t>(Tag::kKv)], Bytes{0});
    EXPECT_EQ(report.used[static_cast<size_t>(Tag::kPrefix)], Bytes{30});
    EXPECT_EQ(report.peak[static_cast<size_t>(Tag::kPrefix)], Bytes{30});
    EXPECT_EQ(report.used_total, Bytes{30});
    EXPECT_EQ(report.peak_total, Bytes{30});
  }
  charge->release();
  EXPECT_EQ(root.report().used[static_cast<size_t>(Tag::kPrefix)], Bytes{0});
}

TEST(Budget, soft_mark_warns_without_refusing) {
  Budget root("root", {.hard = Bytes{100}, .soft = Bytes{50}});
  Result<Charge> charge = root.reserve(Tag::kKv, Bytes{50});
  EXPECT_FALSE(root.above_soft());
  EXPECT_TRUE(charge->grow(Bytes{1}));
  EXPECT_TRUE(root.above_soft());
}

TEST(Budget, injected_failure_refuses_and_leaves_no_trace) {
  Budget root("root", {.hard = Bytes{100}});
  auto child = root.grant("child", {.hard = Bytes{100}});
  int calls = 0;
  root.inject_failures([&](Tag tag, Bytes) { return tag == Tag::kKv && ++calls == 2; });
  EXPECT_TRUE(child->reserve(Tag::kKv, Bytes{1}));
  Result<Charge> refused = child->reserve(Tag::kKv, Bytes{1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kOverBudget);
  EXPECT_EQ(root.report().used_total, Bytes{0});
  EXPECT_TRUE(child->reserve(Tag::kKv, Bytes{1}));
}

TEST(Budget, random_work_from_many_threads_adds_up) {
  Budget root("root", {.hard = Bytes{10'000}});
  auto left = root.grant("left", {.hard = Bytes{6'000}});
  auto right = root.grant("right", {.hard = Bytes{6'000}});
  std::vector<std::thread> threads;
  for (int worker = 0; worker < 4; ++worker) {
    threads.emplace_back([&, worker] {
      Rng rng(static_cast<uint64_t>(worker));
      std::vector<Charge> held;
      for (int step = 0; step < 2000; ++step) {
        Budget& budget = rng.below(2) ? *left : *right;
        const Bytes bytes{static_cast<int64_t>(rng.below(900))};
        if (Result<Charge> charge = budget.reserve(Tag::kKv, bytes))
          held.push_back(std::move(*charge));
        if (held.size() > 4) held.erase(held.begin());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(root.report().used_total, Bytes{0});
  EXPECT_LE(root.report().peak_total, Bytes{10'000});
  EXPECT_LE(left->report().peak_total, Bytes{6'000});
}

TEST(BudgetDeathTest, dies_when_destroyed_with_bytes_still_charged) {
  EXPECT_DEATH(
      {
        auto root = std::make_unique<Budget>("root", Marks{.hard = Bytes{10}});
        Result<Charge> charge = root->reserve(Tag::kKv, Bytes{1});
        root.reset();
      },
      "destroyed with 1 bytes");
}

}  // namespace
}  // namespace ration
