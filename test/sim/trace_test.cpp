#include "sim/trace.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ration {
namespace {

TEST(Trace, text_of_a_trace_reads_back_as_the_trace) {
  const std::vector<TraceRow> trace{
      {.at = Millis{0}, .prompt = 1, .answer = 0},
      {.at = Millis{0.125},
       .prompt = 4000,
       .answer = 64,
       .key = "a \"b\"\n",
       .priority = -3,
       .model = "smollm2",
       .deadline = Millis{1500}},
      {.at = Millis{1e9 / 3}, .prompt = 7, .answer = 7, .key = "é"},
  };
  const Result<std::vector<TraceRow>> back = parse_trace("# made by hand\n\n" + to_text(trace));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, trace);
}

TEST(Trace, what_is_wrong_is_said_with_its_line) {
  const auto message = [](std::string_view row) {
    const auto trace = parse_trace("{\"ms\":5,\"prompt\":1,\"answer\":1}\n" + std::string(row));
    return trace ? "" : trace.error().message;
  };
  for (const std::string_view row : {
           R"({"ms":6,"prompt":1})",
           R"({"ms":6,"prompt":0,"answer":1})",
           R"({"ms":6,"prompt":1.5,"answer":1})",
           R"({"ms":6,"prompt":18446744073709551615,"answer":1})",
           R"({"ms":6,"prompt":1,"answer":18446744073709551615})",
           R"({"ms":-1,"prompt":1,"answer":1})",
           R"({"ms":1e300,"prompt":1,"answer":1})",
           R"({"ms":6,"prompt":1,"answer":1,"prio":1})",
           R"({"ms":6,"prompt":1,"answer":1,"priority":4000000000})",
           R"({"ms":6,"prompt":1,"answer":1,"key":7})",
           R"({"ms":4,"prompt":1,"answer":1})",
           R"([1])",
           R"({"ms":6,)",
       }) {
    EXPECT_TRUE(message(row).starts_with("line 2 of the trace: ")) << row << message(row);
  }
  EXPECT_EQ(message(R"({"ms":6,"prompt":1,"answer":1,"priority":7})"), "");
  EXPECT_FALSE(parse_trace("{\"ms\":5,\"prompt\":1,\"answer\":1}\n", 0));
}

TEST(Trace, poisson_arrivals_have_their_rate_and_their_spread) {
  Rng rng(3);
  const std::vector<Millis> times = poisson_arrivals(rng, 50, Millis{1'000'000});
  EXPECT_NEAR(static_cast<double>(times.size()), 50'000, 1'000);
  double sum = 0, squares = 0;
  for (size_t i = 1; i < times.size(); ++i) {
    const double gap = (times[i] - times[i - 1]).count;
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
  }
  const double mean = sum / static_cast<double>(times.size() - 1);
  // Of an exponential draw the mean of squares is twice the square of the mean.
  EXPECT_NEAR(squares / static_cast<double>(times.size() - 1) / (mean * mean), 2, 0.1);
}

TEST(Trace, bursts_keep_the_mean_and_bunch_up) {
  Rng rng(4);
  const Bursts bursts{.quiet_a_second = 1,
                      .busy_a_second = 40,
                      .quiet_mean = Millis{3000},
                      .busy_mean = Millis{1000}};
  const std::vector<Millis> times = burst_arrivals(rng, bursts, Millis{2'000'000});
  EXPECT_NEAR(static_cast<double>(times.size()), 2000 * (1 * 0.75 + 40 * 0.25), 2500);
  EXPECT_TRUE(std::ranges::is_sorted(times));
  // Counts in windows of a second vary far more than a Poisson process of that rate would.
  std::vector<double> counts(2000, 0);
  for (const Millis time : times) counts[static_cast<size_t>(time.count / 1000)] += 1;
  double mean = 0, variance = 0;
  for (const double count : counts) mean += count / 2000;
  for (const double count : counts) variance += (count - mean) * (count - mean) / 2000;
  EXPECT_GT(variance, 5 * mean);
}

TEST(Trace, same_seed_gives_the_same_arrivals) {
  Rng a(7), b(7);
  EXPECT_EQ(poisson_arrivals(a, 10, Millis{10'000}), poisson_arrivals(b, 10, Millis{10'000}));
}

}  // namespace
}  // namespace ration
