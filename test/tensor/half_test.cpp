#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/rng.h"
#include "sets.h"
#include "tensor/kernels.h"

namespace ration {
namespace {

bool is_nan(uint16_t half) { return (half & 0x7fff) > 0x7c00; }

// The value by the definition of the format, for finite numbers.
double defined_value(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 0x3ff;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

TEST(Half, every_half_means_what_the_format_says_and_round_trips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    const float value = f16_to_f32(half);
    if (is_nan(half)) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_EQ(f32_to_f16(value), half | 0x200);
      continue;
    }
    if ((half & 0x7fff) == 0x7c00) {
      EXPECT_EQ(value, half & 0x8000 ? -INFINITY : INFINITY);
    } else {
      EXPECT_EQ(static_cast<double>(value), defined_value(half));
    }
    EXPECT_EQ(f32_to_f16(value), half);
  }
}

TEST(Half, rounds_to_the_nearest_and_ties_to_even) {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const double low = defined_value(half);
    const double high = defined_value(static_cast<uint16_t>(half + 1));
    const float middle = static_cast<float>((low + high) / 2);  // exact: one bit more than a half
    EXPECT_EQ(f32_to_f16(middle), half % 2 == 0 ? half : half + 1);
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), half);
    EXPECT_EQ(f32_to_f16(std::nextafter(middle, INFINITY)), half + 1);
    EXPECT_EQ(f32_to_f16(-middle), 0x8000 | (half % 2 == 0 ? half : half + 1));
  }
}

TEST(Half, overflows_to_infinity_from_65520) {
  EXPECT_EQ(f32_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(INFINITY), 0x7c00);
  EXPECT_EQ(f32_to_f16(1e-30f), 0);
  EXPECT_EQ(f32_to_f16(-0.0f), 0x8000);
}

TEST(Half, every_set_converts_random_bits_like_the_reference) {
  Rng rng(7);
  constexpr int kCount = 1003;
  float numbers[kCount];
  uint16_t halves[kCount];
  for (const auto& [name, set] : samples::all_sets()) {
    for (int round = 0; round < 200; ++round) {
      for (float& number : numbers)
        number = std::bit_cast<float>(static_cast<uint32_t>(rng.next()));
      const int n = static_cast<int>(rng.below(kCount)) + 1;
      set->to_f16(numbers, n, halves);
      for (int i = 0; i < n; ++i) ASSERT_EQ(halves[i], f32_to_f16(numbers[i])) << name;
    }
  }
}

}  // namespace
}  // namespace ration
