// tensor/kernel/vector_code.h - the functions of one vector, for every set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/kernels.h"

namespace ration {
namespace {

// out[i] = function(load(a + i), load(b + i)) for i in [0, n), tails included.
template <class L, class Function>
void map2(const float* a, const float* b, int64_t n, float* out, Function function) {
  int64_t i = 0;
  for (; i + L::kLanes <= n; i += L::kLanes) {
    L::store(out + i, function(L::load(a + i), L::load(b + i)));
  }
  if (i < n) {
    L::store_some(out + i, n - i, function(L::load_some(a + i, n - i), L::load_some(b + i, n - i)));
  }
}

// e^x, relative error below 1.2e-7 where the result is a normal number; 0 and infinity beyond; a
// NaN stays one. Method: x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its series to r^7, cut where the
// next term is under 2^-26; 2^n in two halves so that results near the ends of the range come out
// right.
template <class L>
typename L::F exp(typename L::F x) {
  using F = typename L::F;
  const F bounded = L::max(L::set(-150.0f), L::min(L::set(150.0f), x));
  const F n = L::round(L::mul(bounded, L::set(1.44269504f)));
  // ln 2 in two parts; the first has few enough bits that its product with n is exact.
  F r = L::fnma(n, L::set(0.693359375f), bounded);
  r = L::fnma(n, L::set(-2.12194440e-4f), r);
  F series = L::set(1.0f / 5040);
  for (float term : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f}) {
    series = L::fma(series, r, L::set(term));
  }
  const F e_r = L::fma(L::mul(series, r), r, L::add(r, L::set(1)));
  const typename L::I whole = L::to_int(n);
  const typename L::I half = L::halved(whole);
  return L::mul(L::mul(e_r, L::power_of_two(half)), L::power_of_two(L::sub32(whole, half)));
}

// tanh x = 1 - 2 / (e^2x + 1); near zero, where that cancels, an odd polynomial (Cephes' tanhf).
template <class L>
typename L::F tanh(typename L::F x) {
  using F = typename L::F;
  const F one = L::set(1);
  const F far = L::sub(one, L::div(L::set(2), L::add(exp<L>(L::add(x, x)), one)));
  const F square = L::mul(x, x);
  F series = L::set(-5.70498872745e-3f);
  for (float term :
       {2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f}) {
    series = L::fma(series, square, L::set(term));
  }
  const F near = L::fma(L::mul(series, square), x, x);
  return L::choose_below(L::abs(x), 0.625f, near, far);
}

// x / (1 + e^-x)
template <class L>
typename L::F sigmoid_weighted(typename L::F x, typename L::F exponent) {
  return L::div(x, L::add(L::set(1), exp<L>(L::sub(L::zero(), exponent))));
}

template <class L>
void rms_norm(const float* x, const float* weight, float epsilon, int64_t n, float* out) {
  using F = typename L::F;
  F sums[2] = {L::zero(), L::zero()};
  int64_t i = 0;
  for (int turn = 0; i + L::kLanes <= n; i += L::kLanes, turn ^= 1) {
    const F numbers = L::load(x + i);
    sums[turn] = L::fma(numbers, numbers, sums[turn]);
  }
  if (i < n) {
    const F numbers = L::load_some(x + i, n - i);
    sums[0] = L::fma(numbers, numbers, sums[0]);
  }
  const float mean = L::sum(L::add(sums[0], sums[1])) / static_cast<float>(n);
  const F factor = L::set(1 / __builtin_sqrtf(mean + epsilon));
  map2<L>(x, weight, n, out, [factor](F a, F b) { return L::mul(L::mul(a, factor), b); });
}

// Sum of function(x[i]), in two running sums.
template <class L, class Function>
float sum_of(const float* x, int64_t n, Function function) {
  typename L::F sums[2] = {L::zero(), L::zero()};
  int64_t i = 0;
  for (int turn = 0; i + L::kLanes <= n; i += L::kLanes, turn ^= 1) {
    sums[turn] = L::add(sums[turn], function(L::load(x + i)));
  }
  float total = L::sum(L::add(sums[0], sums[1]));
  for (; i < n; ++i) {
    float lanes[L::kLanes];  // one number in all of them
    L::store(lanes, function(L::set(x[i])));
    total += lanes[0];
  }
  return total;
}

template <class L>
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, int64_t n,
                float* out) {
  using F = typename L::F;
  const auto count = static_cast<float>(n);
  const F mean = L::set(sum_of<L>(x, n, [](F a) { return a; }) / count);
  const float variance = sum_of<L>(x, n,
                                   [mean](F a) {
                                     const F off = L::sub(a, mean);
                                     return L::mul(off, off);
                                   }) /
                         count;
  const F factor = L::set(1 / __builtin_sqrtf(variance + epsilon));
  map2<L>(x, weight, n, out,
          [mean, factor](F a, F b) { return L::mul(L::mul(L::sub(a, mean), factor), b); });
  map2<L>(out, bias, n, out, [](F a, F b) { return L::add(a, b); });
}

template <class L>
void add(float* x, const float* y, int64_t n) {
  map2<L>(x, y, n, x, [](typename L::F a, typename L::F b) { return L::add(a, b); });
}

template <class L>
void silu_multiply(const float* gate, const float* up, int64_t n, float* out) {
  using F = typename L::F;
  map2<L>(gate, up, n, out, [](F x, F y) { return L::mul(sigmoid_weighted<L>(x, x), y); });
}

// 0.5 x (1 + tanh u) = x / (1 + e^-2u)
template <class L>
void gelu_multiply(const float* gate, const float* up, int64_t n, float* out) {
  using F = typename L::F;
  map2<L>(gate, up, n, out, [](F x, F y) {
    const F inner = L::fma(L::mul(x, x), L::set(0.044715f), L::set(1));
    const F twice_u = L::mul(L::mul(x, L::set(1.5957691216f)), inner);  // 2 sqrt(2 / pi)
    return L::mul(sigmoid_weighted<L>(x, twice_u), y);
  });
}

// 1 - erf(z) = (1 + a1 z + ... + a6 z^6)^-16 for z >= 0, off by at most 3e-7: Abramowitz and Stegun
// 1964, "Handbook of Mathematical Functions", 7.1.28. So with z = |x| / sqrt(2)
// x / 2 (1 + erf(x / sqrt(2))) = max(x, 0) - |x| / 2 (1 - erf(z)).
template <class L>
void gelu(const float* x, int64_t n, float* out) {
  using F = typename L::F;
  map2<L>(x, x, n, out, [](F a, F) {
    const F size = L::abs(a);
    const F z = L::mul(size, L::set(0.70710678f));
    F series = L::set(0.0000430638f);
    for (float term :
         {0.0002765672f, 0.0001520143f, 0.0092705272f, 0.0422820123f, 0.0705230784f, 1.0f}) {
      series = L::fma(series, z, L::set(term));
    }
    for (int i = 0; i < 4; ++i) series = L::mul(series, series);
    const F half = L::mul(size, L::set(0.5f));
    return L::sub(L::max(a, L::zero()), L::div(half, series));
  });
}

template <class L>
void rotate_halves(float* head, const float* cosines, const float* sines, int64_t pairs) {
  using F = typename L::F;
  const auto turn = [](F a, F b, F cosine, F sine, F& first, F& second) {
    first = L::fms(a, cosine, L::mul(b, sine));
    second = L::fma(a, sine, L::mul(b, cosine));
  };
  float* other = head + pairs;
  F first, second;
  int64_t i = 0;
  for (; i + L::kLanes <= pairs; i += L::kLanes) {
    turn(L::load(head + i), L::load(other + i), L::load(cosines + i), L::load(sines + i), first,
         second);
    L::store(head + i, first);
    L::store(other + i, second);
  }
  if (i < pairs) {
    const int64_t n = pairs - i;
    turn(L::load_some(head + i, n), L::load_some(other + i, n), L::load_some(cosines + i, n),
         L::load_some(sines + i, n), first, second);
    L::store_some(head + i, n, first);
    L::store_some(other + i, n, second);
  }
}

template <class L>
void rotate_pairs(float* head, const float* cosines, const float* sines, int64_t pairs) {
  using F = typename L::F;
  int64_t i = 0;
  for (; i + L::kLanes <= pairs; i += L::kLanes) {
    F a, b, first, second;
    L::split_pairs(L::load(head + 2 * i), L::load(head + 2 * i + L::kLanes), a, b);
    const F cosine = L::pair_order(L::load(cosines + i));
    const F sine = L::pair_order(L::load(sines + i));
    L::join_pairs(L::fms(a, cosine, L::mul(b, sine)), L::fma(a, sine, L::mul(b, cosine)), first,
                  second);
    L::store(head + 2 * i, first);
    L::store(head + 2 * i + L::kLanes, second);
  }
  for (; i < pairs; ++i) {
    const float a = head[2 * i];
    const float b = head[2 * i + 1];
    head[2 * i] = __builtin_fmaf(a, cosines[i], -(b * sines[i]));
    head[2 * i + 1] = __builtin_fmaf(a, sines[i], b * cosines[i]);
  }
}

template <class L>
void rotate(float* head, const float* cosines, const float* sines, int64_t pairs,
            bool interleaved) {
  interleaved ? rotate_pairs<L>(head, cosines, sines, pairs)
              : rotate_halves<L>(head, cosines, sines, pairs);
}

template <class L>
void to_f16(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + L::kLanes <= n; i += L::kLanes) L::store_f16(out + i, L::load(x + i));
  if (i < n) {
    uint16_t halves[L::kLanes];
    L::store_f16(halves, L::load_some(x + i, n - i));
    std::memcpy(out + i, halves, static_cast<size_t>(n - i) * sizeof(uint16_t));
  }
}

}  // namespace
}  // namespace ration
