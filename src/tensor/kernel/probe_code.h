// tensor/kernel/probe_code.h - loops that reach a limit of the machine and do nothing else, for
// every set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/kernels.h"

namespace ration {
namespace {

// One after the other a run of addresses leaves memory half idle; more than eight are too many.
constexpr int64_t kReadRuns = 4;
constexpr int64_t kReadAhead = 1024;

// The exclusive or of the 8-byte words of `bytes`.
inline uint64_t folded(const void* data, int64_t bytes) {
  uint64_t sum = 0;
  for (int64_t at = 0; at < bytes; at += 8) {
    uint64_t word;
    std::memcpy(&word, static_cast<const std::byte*>(data) + at, sizeof word);
    sum ^= word;
  }
  return sum;
}

template <class L>
uint64_t read_probe(const std::byte* data, int64_t bytes) {
  using I = typename L::I;
  constexpr int64_t kLine = 64;
  const int64_t run = bytes / (kReadRuns * kLine) * kLine;
  I sums[kReadRuns];
  for (I& sum : sums) sum = L::set32(0);
  for (int64_t at = 0; at < run; at += kLine) {
    for (int64_t r = 0; r < kReadRuns; ++r) {
      const std::byte* line = data + r * run + at;
      __builtin_prefetch(line + kReadAhead, 0, 3);
      for (int64_t i = 0; i < kLine; i += int64_t{sizeof(I)}) {
        sums[r] = L::bit_xor(sums[r], L::load_int(line + i));
      }
    }
  }
  return folded(sums, sizeof sums) ^ folded(data + kReadRuns * run, bytes - kReadRuns * run);
}

// Four-bit weights, as a tile of the matrix products has them: weights in the nearest cache, sums
// in registers, widened where they would overflow.
template <class L>
struct MultiplyProbe {
  static constexpr int kSteps = L::template kSteps<4>;
  static constexpr int64_t kOperations =
      int64_t{2} * 4 * L::kLanes * L::kTokens * L::kGroups * kSteps;

  static int64_t run(int64_t rounds) {
    using I = typename L::I;
    alignas(64) std::byte weights[kSteps][L::kGroups][sizeof(I)];
    alignas(64) std::byte x[L::kTokens][4 * kSteps];
    std::memset(weights, kProbeWeight, sizeof weights);
    std::memset(x, kProbeNumber, sizeof x);
    I sums[L::kTokens][L::kGroups], parts[L::kTokens][L::kGroups];
    std::memset(sums, 0, sizeof sums);
    const auto step = [&](int j, auto multiply) {
      for (int t = 0; t < L::kTokens; ++t) {
        const I numbers = L::broadcast32(x[t] + 4 * j);
        for (int r = 0; r < L::kGroups; ++r) {
          multiply(parts[t][r], L::load_int(weights[j][r]), numbers);
        }
      }
    };
    for (int64_t round = 0; round < rounds; ++round) {
      asm volatile("" : : "r"(weights), "r"(x) : "memory");  // as if they had changed
      step(0, [](I& part, I w, I numbers) { part = L::template product<4>(w, numbers); });
#pragma clang loop unroll(disable)
      for (int j = 1; j < kSteps; ++j) {
        step(j,
             [](I& part, I w, I numbers) { part = L::template add_product<4>(part, w, numbers); });
      }
      for (int t = 0; t < L::kTokens; ++t) {
        for (int r = 0; r < L::kGroups; ++r) {
          sums[t][r] = L::add32(sums[t][r], L::widen(parts[t][r]));
        }
      }
    }
    int32_t lanes[sizeof sums / sizeof(int32_t)];
    std::memcpy(lanes, sums, sizeof sums);
    int64_t total = 0;
    for (int32_t lane : lanes) total += lane;
    return total;
  }
};

template <class L>
constexpr Probes probes_of() {
  return {read_probe<L>, MultiplyProbe<L>::run, MultiplyProbe<L>::kOperations};
}

}  // namespace
}  // namespace ration
