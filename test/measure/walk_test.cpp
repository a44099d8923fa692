#include <gtest/gtest.h>

#include "measure/measure.h"

namespace ration {
namespace {

// As long as the walk of the product that was last asked for takes, by a table; no product is made.
struct MadeUp {
  static inline Walk last;
  static inline Walk fast;
  static inline double gain = 1;
  static inline uint32_t jitter = 0;  // of a hundred
  static inline int calls = 0;

  static void matmul(const Matrix& w, const Activations&, int64_t, int64_t, float*, int64_t) {
    last = w.walk;
    ++calls;
  }
  static ActivationFormat format_of(DType) { return ActivationFormat::kF32; }
  static void quantize(ActivationFormat, const float*, int64_t, std::byte*) {}
};

// Read before and after each pass: every second look comes after the products.
class PassClock final : public Clock {
 public:
  int64_t now_ns() const override {
    const double pass = MadeUp::last == MadeUp::fast ? 1e7 / MadeUp::gain : 1e7;
    noise_ = noise_ * 1664525 + 1013904223;
    const double noise = MadeUp::jitter ? (noise_ >> 8) % MadeUp::jitter * 0.01 : 0;
    return now_ns_ += static_cast<int64_t>(pass * (1 + noise));
  }

 private:
  mutable int64_t now_ns_ = 0;
  mutable uint32_t noise_ = 1;
};

WalkChoice choose(const Walk& fast, double gain, uint32_t jitter, Millis span = Millis{5000}) {
  MadeUp::fast = fast;
  MadeUp::gain = gain;
  MadeUp::jitter = jitter;
  MadeUp::calls = 0;
  const Kernels kernels{.isa = "made up",
                        .layout = Layout::kPanels,
                        .format_of = MadeUp::format_of,
                        .quantize = MadeUp::quantize,
                        .matmul = MadeUp::matmul};
  const std::byte weight{};
  const Matrix matrix{
      .dtype = DType::kQ8_0, .layout = Layout::kPanels, .rows = 16, .cols = 32, .data = &weight};
  Pool pool(1);
  return measure_walk(kernels, pool, PassClock(), {&matrix, 1}, span);
}

TEST(Walk, is_the_one_that_is_faster) {
  const WalkChoice choice = choose({.ahead_bytes = 4096, .panels = 1}, 1.25, 0);
  EXPECT_EQ(choice.walk, (Walk{.ahead_bytes = 4096, .panels = 1}));
  EXPECT_NEAR(choice.per_second / choice.usual_per_second, 1.25, 0.01);
}

TEST(Walk, stays_the_usual_one_where_nothing_is_gained) {
  EXPECT_EQ(choose({.ahead_bytes = 4096, .panels = 1}, 1.01, 0).walk, Walk{});
  EXPECT_EQ(choose({.ahead_bytes = 4096, .panels = 1}, 0.5, 0).walk, Walk{});
}

TEST(Walk, stays_the_usual_one_where_the_gain_is_within_the_noise) {
  EXPECT_EQ(choose({.ahead_bytes = 4096, .panels = 1}, 1.03, 60).walk, Walk{});
}

TEST(Walk, is_left_open_when_the_time_was_too_short) {
  const WalkChoice choice = choose({.ahead_bytes = 4096, .panels = 1}, 2, 0, Millis{100});
  EXPECT_EQ(choice.walk, Walk{});
  EXPECT_EQ(choice.per_second, 0);
  EXPECT_LT(MadeUp::calls, 20);
}

}  // namespace
}  // namespace ration
