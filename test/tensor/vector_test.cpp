#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "samples.h"
#include "sets.h"

namespace ration {
namespace {

using samples::random_numbers;

class Vector : public testing::TestWithParam<samples::NamedSet> {};

// Lengths around every vector width.
const std::vector<int64_t> kLengths{1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 576, 1535};

TEST_P(Vector, rms_norm_divides_by_the_root_of_the_mean_square) {
  Rng rng(1);
  for (int64_t n : kLengths) {
    std::vector<float> x = random_numbers(n, rng);
    const std::vector<float> weight = random_numbers(n, rng);
    double squares = 0;
    for (float number : x) squares += static_cast<double>(number) * static_cast<double>(number);
    const double root = std::sqrt(squares / static_cast<double>(n) + 1e-5);
    std::vector<float> out(x.size() + 1, 99.0f);
    GetParam().kernels->rms_norm(x.data(), weight.data(), 1e-5f, n, out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double wanted = static_cast<double>(x[i]) / root * static_cast<double>(weight[i]);
      ASSERT_NEAR(static_cast<double>(out[i]), wanted, 1e-6 * std::fabs(wanted));
    }
    EXPECT_EQ(out.back(), 99.0f);
    std::vector<float> in_place = x;
    GetParam().kernels->rms_norm(in_place.data(), weight.data(), 1e-5f, n, in_place.data());
    out.pop_back();
    EXPECT_EQ(in_place, out);
  }
}

TEST_P(Vector, layer_norm_takes_the_mean_off_and_divides_by_the_deviation) {
  Rng rng(5);
  for (int64_t n : kLengths) {
    std::vector<float> x = random_numbers(n, rng);
    for (float& number : x) number = 3 * number + 7;  // a mean that must not be rounded away
    const std::vector<float> weight = random_numbers(n, rng);
    const std::vector<float> bias = random_numbers(n, rng);
    double mean = 0, variance = 0;
    for (float number : x) mean += static_cast<double>(number) / static_cast<double>(n);
    for (float number : x) {
      variance += std::pow(static_cast<double>(number) - mean, 2) / static_cast<double>(n);
    }
    std::vector<float> out(x.size() + 1, 99.0f);
    GetParam().kernels->layer_norm(x.data(), weight.data(), bias.data(), 1e-5f, n, out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double normed = (static_cast<double>(x[i]) - mean) / std::sqrt(variance + 1e-5);
      const double wanted = normed * static_cast<double>(weight[i]) + static_cast<double>(bias[i]);
      ASSERT_NEAR(static_cast<double>(out[i]), wanted, 1e-5) << "length " << n;
    }
    EXPECT_EQ(out.back(), 99.0f);
    std::vector<float> in_place = x;
    GetParam().kernels->layer_norm(in_place.data(), weight.data(), bias.data(), 1e-5f, n,
                                   in_place.data());
    out.pop_back();
    EXPECT_EQ(in_place, out);
  }
}

TEST_P(Vector, gelu_equals_the_definition_by_erf) {
  std::vector<float> x;
  for (float number = -12; number < 12; number += 0.0371f) x.push_back(number);
  for (float number : {-1e30f, -150.0f, 0.0f, 1e-6f, 150.0f, 1e30f}) x.push_back(number);
  for (int64_t n : {int64_t{1}, int64_t{7}, static_cast<int64_t>(x.size())}) {
    std::vector<float> out(x.size() + 1, 99.0f);
    GetParam().kernels->gelu(x.data(), n, out.data());
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
      const double number = static_cast<double>(x[i]);
      const double wanted = number / 2 * std::erfc(-number / std::sqrt(2.0));
      ASSERT_NEAR(static_cast<double>(out[i]), wanted, 2e-6 * std::fabs(number)) << x[i];
    }
    EXPECT_EQ(out[static_cast<size_t>(n)], 99.0f);
  }
  std::vector<float> out(x.size());
  GetParam().kernels->gelu(x.data(), static_cast<int64_t>(x.size()), out.data());
  GetParam().kernels->gelu(x.data(), static_cast<int64_t>(x.size()), x.data());
  EXPECT_EQ(x, out);
}

TEST_P(Vector, rms_norm_of_zeros_is_zero) {
  std::vector<float> x(64, 0.0f);
  const std::vector<float> weight(64, 2.0f);
  GetParam().kernels->rms_norm(x.data(), weight.data(), 1e-6f, 64, x.data());
  EXPECT_EQ(x, std::vector<float>(64, 0.0f));
}

TEST_P(Vector, add_adds_and_touches_nothing_else) {
  Rng rng(2);
  for (int64_t n : kLengths) {
    std::vector<float> x = random_numbers(n + 1, rng);
    const std::vector<float> before = x;
    const std::vector<float> y = random_numbers(n + 1, rng);
    GetParam().kernels->add(x.data(), y.data(), n);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) ASSERT_EQ(x[i], before[i] + y[i]);
    EXPECT_EQ(x.back(), before.back());
  }
}

double silu(double x) { return x / (1 + std::exp(-x)); }
// 0.5 x (1 + tanh u) = x / (1 + exp(-2 u)), which does not cancel for negative x.
double gelu(double x) {
  const double u = std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * u));
}

using Gate = void (*)(const float*, const float*, int64_t, float*);

// `floor`: absolute error allowed, for the set whose textbook formula cancels.
void expect_gate(Gate gate, double (*function)(double), double relative, double floor) {
  Rng rng(3);
  for (int64_t n : kLengths) {
    std::vector<float> x = random_numbers(n, rng);
    for (float& number : x) number *= 4;
    const std::vector<float> up = random_numbers(n, rng);
    std::vector<float> out(x.size() + 1, 99.0f);
    gate(x.data(), up.data(), n, out.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double wanted = function(static_cast<double>(x[i])) * static_cast<double>(up[i]);
      ASSERT_NEAR(static_cast<double>(out[i]), wanted, relative * std::fabs(wanted) + floor)
          << "x " << x[i];
    }
    EXPECT_EQ(out.back(), 99.0f);
    gate(x.data(), up.data(), n, x.data());
    out.pop_back();
    EXPECT_EQ(x, out);
  }
}

TEST_P(Vector, silu_multiply_equals_the_definition) {
  expect_gate(GetParam().kernels->silu_multiply, silu, 1e-6, 1e-30);
}

TEST_P(Vector, gelu_multiply_equals_the_definition) {
  // The argument of exp has a rounding error of its own, which exp turns into a relative one.
  expect_gate(GetParam().kernels->gelu_multiply, gelu, 3e-5, 1e-14);
}

TEST_P(Vector, gates_keep_their_limits) {
  const std::vector<float> x{-1e30f, -1000.0f, -150.0f, -0.0f, 0.0f, 1000.0f, 1e30f, 88.0f};
  const std::vector<float> one(8, 1.0f);
  for (Gate gate : {GetParam().kernels->silu_multiply, GetParam().kernels->gelu_multiply}) {
    std::vector<float> out(8);
    gate(x.data(), one.data(), 8, out.data());
    for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(out[i], 0.0f, 1e-30f) << x[i];
    EXPECT_EQ(out[5], 1000.0f);
    EXPECT_EQ(out[6], 1e30f);
    EXPECT_EQ(out[7], 88.0f);
  }
}

TEST_P(Vector, rotate_turns_each_pair_by_its_angle) {
  Rng rng(4);
  for (int64_t pairs : {1, 4, 7, 8, 16, 20, 32, 48, 64, 128}) {
    std::vector<float> cosines, sines;
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = samples::normal(rng);
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
    for (bool interleaved : {false, true}) {
      const std::vector<float> before = random_numbers(2 * pairs + 1, rng);
      std::vector<float> head = before;
      GetParam().kernels->rotate(head.data(), cosines.data(), sines.data(), pairs, interleaved);
      for (int64_t i = 0; i < pairs; ++i) {
        const size_t p = static_cast<size_t>(interleaved ? 2 * i : i);
        const size_t q = static_cast<size_t>(interleaved ? 2 * i + 1 : i + pairs);
        const double c = static_cast<double>(cosines[static_cast<size_t>(i)]);
        const double s = static_cast<double>(sines[static_cast<size_t>(i)]);
        const double a = static_cast<double>(before[p]);
        const double b = static_cast<double>(before[q]);
        ASSERT_NEAR(static_cast<double>(head[p]), a * c - b * s, 1e-6);
        ASSERT_NEAR(static_cast<double>(head[q]), a * s + b * c, 1e-6);
      }
      EXPECT_EQ(head.back(), before.back());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, Vector, testing::ValuesIn(samples::all_sets()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ration
