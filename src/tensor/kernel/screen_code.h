// tensor/kernel/screen_code.h - upper bounds of products, from the upper four bits of the weights.
//
// A weight is s (h u + l - o): u the nibble that is read, l the rest, in 0 .. 2 m, that is not.
// With l at its middle m the product is known but for the sum of s (l - m) x. No l deviates from m
// by more than m: were they independent, the sum would have a standard deviation of at most the
// root of the sum of (s m x)^2, of which kDeviations are allowed (8.7 when the l are spread
// evenly). Rests that are all the same, as in a row of zeros, add up to m |sum of s x|; that is
// allowed on top.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/kernel/activation.h"
#include "tensor/kernel/block256_code.h"
#include "tensor/kernel/job.h"
#include "tensor/kernel/panel_code.h"
#include "tensor/kernel/rows_code.h"

namespace ration {
namespace {

constexpr float kDeviations = 5;

// Three sums over the blocks, a row a lane.
template <class L>
struct Screened {
  typename L::F product = L::zero();   // of s u x
  typename L::F sum = L::zero();       // of s x
  typename L::F variance = L::zero();  // of (s x)^2, or more
};

// Of one token: the largest sum of squares of a subgroup of each block of activations.
struct Energies {
  float blocks[kSplitColumnsMax / 32];
};

template <class Upper>
void find_energies(const std::byte* x, int64_t cols, Energies& out) {
  const auto* quants = reinterpret_cast<const int8_t*>(x);
  for (int64_t b = 0; b < cols / Upper::kColumns; ++b) {
    int32_t largest = 0;
    for (int64_t g = 0; g < Upper::kColumns; g += Upper::kSubgroup) {
      int32_t sum = 0;
      for (int64_t i = 0; i < Upper::kSubgroup; ++i) {
        const int32_t q = quants[b * Upper::kColumns + g + i];
        sum += q * q;
      }
      largest = sum > largest ? sum : largest;
    }
    float scale;
    __builtin_memcpy(&scale, x + Upper::scales_at(cols) + 4 * b, sizeof scale);
    out.blocks[b] = scale * scale * static_cast<float>(largest);
  }
}

// Q8_0: weight = scale (16 u + l - 128), l in 0 .. 15.
struct UpperQ8_0 {
  static constexpr int64_t kColumns = 32, kSubgroup = 32;
  static constexpr float kStep = 16, kMiddle = 7.5f, kOffset = 128;
  using Split = TypeSplitQ8_0;
  static constexpr int64_t scales_at(int64_t cols) { return int8x32_scales_at(cols); }

  template <class L, int kTokens>
  static void add(const PlaneRows<L, Split::kUpperBytes>& rows, const std::byte* const* x,
                  int64_t cols, int64_t block, const Energies* energies,
                  Screened<L> (&sums)[kTokens]) {
    using I = typename L::I;
    using F = typename L::F;
    struct {
      I quads[8];
    } group[1];
    I bytes[4];
    rows.load(block * Split::kUpperBytes + 2, bytes);
    for (int j = 0; j < 4; ++j) {
      group->quads[j] = L::bit_and(bytes[j], L::set8(15));
      group->quads[j + 4] = L::bit_and(L::template shift_right<4>(bytes[j]), L::set8(15));
    }
    const F scale = rows.halves(block * Split::kUpperBytes);
    const F square = L::mul(scale, scale);
    I dots[kTokens][1];
    add_quads<L, 4, 8>(group, x, block * 32, 0, dots);
    for (int t = 0; t < kTokens; ++t) {
      const F x_scale = L::broadcast_float(x[t] + int8x32_scales_at(cols) + block * 4);
      const F x_sum = L::broadcast_float(x[t] + int8x32_scaled_sums_at(cols) + block * 4);
      const F dot = L::to_float(L::widen(dots[t][0]));
      sums[t].product = L::fma(dot, L::mul(scale, x_scale), sums[t].product);
      sums[t].sum = L::fma(scale, x_sum, sums[t].sum);
      sums[t].variance = L::fma(square, L::set(energies[t].blocks[block]), sums[t].variance);
    }
  }
};

// Q6_K: weight = scale s (4 u + l - 32), l in 0 .. 3, s one of 16 columns.
struct UpperQ6_K {
  static constexpr int64_t kColumns = 256, kSubgroup = 16;
  static constexpr float kStep = 4, kMiddle = 1.5f, kOffset = 32;
  using Split = TypeSplitQ6_K;
  static constexpr int64_t scales_at(int64_t cols) { return int8x256_scales_at(cols); }

  template <class L, int kTokens>
  static void add(const PlaneRows<L, Split::kUpperBytes>& rows, const std::byte* const* x,
                  int64_t cols, int64_t block, const Energies* energies,
                  Screened<L> (&sums)[kTokens]) {
    using I = typename L::I;
    using F = typename L::F;
    const int64_t at = block * Split::kUpperBytes;
    Group256<L> group;  // all but the quads
    I scales[4];
    rows.load(at, scales);
    unpack_signed_scales<L, 0>(scales, group);
    const F scale = rows.halves(at + 144);
    I dots[kTokens], offsets[kTokens], squares = L::set32(0);
    for (int t = 0; t < kTokens; ++t) dots[t] = offsets[t] = L::set32(0);
#pragma clang loop unroll(disable)
    for (int piece = 0; piece < Split::kPieces; ++piece) {
      for (int run = 0; run < 2; ++run) {  // its low nibbles: subgroup `run`; the high ones: + 2
        I bytes[4];
        rows.load(at + 16 + 32 * piece + 16 * run, bytes);
        const int subgroup = Split::first_subgroup(piece) + run * Split::kApart;
        const int64_t column = block * 256 + subgroup * 16;
        for (int t = 0; t < kTokens; ++t) {
          I low = L::set32(0), high = L::set32(0);
          for (int j = 0; j < 4; ++j) {
            const I below = L::bit_and(bytes[j], L::set8(15));
            const I above = L::bit_and(L::template shift_right<4>(bytes[j]), L::set8(15));
            low = L::template add_product<4>(low, below, L::broadcast32(x[t] + column + 4 * j));
            high =
                L::template add_product<4>(high, above, L::broadcast32(x[t] + column + 64 + 4 * j));
          }
          const int other = subgroup + 2 * Split::kApart;
          dots[t] = L::add32(dots[t], L::widen_scaled(low, group.scales[subgroup]));
          dots[t] = L::add32(dots[t], L::widen_scaled(high, group.scales[other]));
        }
      }
    }
    for (int p = 0; p < 8; ++p) {
      squares = L::add_pairs(squares, group.pairs[p], group.pairs[p]);
      for (int t = 0; t < kTokens; ++t) {
        const I pair = L::broadcast32(x[t] + int8x256_sums16_at(cols) + block * 32 + 4 * p);
        offsets[t] = L::add_pairs(offsets[t], group.pairs[p], pair);
      }
    }
    const F weight = L::mul(L::mul(scale, scale), L::to_float(squares));
    for (int t = 0; t < kTokens; ++t) {
      const F x_scale = L::broadcast_float(x[t] + int8x256_scales_at(cols) + block * 4);
      const F both = L::mul(scale, x_scale);
      sums[t].product = L::fma(L::to_float(dots[t]), both, sums[t].product);
      sums[t].sum = L::fma(L::to_float(offsets[t]), both, sums[t].sum);
      sums[t].variance = L::fma(weight, L::set(energies[t].blocks[block]), sums[t].variance);
    }
  }
};

template <class L, class Upper>
typename L::F bound_of(const Screened<L>& sums) {
  using F = typename L::F;
  const F product = L::mul(sums.product, L::set(Upper::kStep));
  const F taken_off = L::mul(sums.sum, L::set(Upper::kOffset - Upper::kMiddle));
  const F spread = L::mul(L::sqrt(sums.variance), L::set(kDeviations * Upper::kMiddle));
  const F alike = L::mul(L::abs(sums.sum), L::set(Upper::kMiddle));
  return L::add(L::sub(product, taken_off), L::add(spread, alike));
}

template <class L, class Upper, int kTokens>
[[gnu::noinline]] void screen_panel(const Job& job, int64_t row, int64_t token,
                                    const Energies* energies) {
  using Plane = PlaneRows<L, Upper::Split::kUpperBytes>;
  const std::byte* x[kTokens];
  for (int t = 0; t < kTokens; ++t) x[t] = job.x + (token + t) * job.x_bytes;
  const int64_t blocks = job.cols / Upper::kColumns;
  const Plane panel(job.weights + row * blocks * Upper::Split::kUpperBytes, job.walk);
  for (int64_t lane = 0; lane < kRowsAPanel; lane += L::kLanes) {
    const Plane rows = panel.lanes_from(lane);
    Screened<L> sums[kTokens];
    for (int64_t b = 0; b < blocks; ++b) {
      Upper::template add<L, kTokens>(rows, x, job.cols, b, energies, sums);
    }
    for (int t = 0; t < kTokens; ++t) {
      store_rows<L>(job, token + t, row + lane, bound_of<L, Upper>(sums[t]));
    }
  }
}

template <class L, class Upper>
void screen(const Job& job) {
  in_fours(job.tokens, [&](auto count, int64_t token) {
    Energies energies[count];
    for (int t = 0; t < count; ++t) {
      find_energies<Upper>(job.x + (token + t) * job.x_bytes, job.cols, energies[t]);
    }
    for (int64_t row = job.row_begin; row < job.row_end; row += kRowsAPanel) {
      screen_panel<L, Upper, count>(job, row, token, energies);
    }
  });
}

}  // namespace
}  // namespace ration
