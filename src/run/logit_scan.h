// run/logit_scan.h - passes over a whole row of logits, written so that the compiler makes vectors
// of them: 262,144 numbers are read for every token of an answer. Private to run/.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace ration {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Logits are worked on in blocks that stay in the first cache between two passes over them.
inline constexpr size_t kLogitBlock = 1024;

struct TokenLogit {
  Token token;
  float logit;
  bool operator==(const TokenLogit&) const = default;
};
// Higher first, then the lower id: a total order, so that no selection depends on how it is done.
constexpr bool better(const TokenLogit& a, const TokenLogit& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

struct LogitScan {
  TokenLogit best;          // ties: the lowest id
  double log_sum_exp;       // natural logarithm of sum(exp(logit))
  Token not_a_number = -1;  // the first logit that is NaN or +infinity; then nothing else is set
};
// REQUIRES: logits is not empty. All -infinity: best.logit is -infinity.
LogitScan scan_logits(std::span<const float> logits);

// The same without the sum, which costs most: log_sum_exp is NaN.
LogitScan scan_best(std::span<const float> logits);

// The highest logit alone.
TokenLogit best_logit(std::span<const float> logits);

// The `count` best logits, best first; those of -infinity never. REQUIRES: no NaN, count >= 1.
void select_best(std::span<const float> logits, size_t count, std::vector<TokenLogit>& out);

// The logits that are at least `least`, in the order of their ids. REQUIRES: no NaN, least is
// finite.
void select_at_least(std::span<const float> logits, float least, std::vector<TokenLogit>& out);

// exp(x) for x <= 0 to within 2e-7 of its value; 0 below -87. One definition for whole rows and for
// single tokens, so that both agree in every bit.
inline float exp_of(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  // clamped = whole * ln 2 + rest with |rest| <= 0.35. Adding 1.5 * 2^23 rounds to a whole number
  // and leaves it in the low bits of the sum.
  const float shifted = clamped * 1.44269504f + 12582912.0f;
  const float whole = shifted - 12582912.0f;
  // ln 2 in two parts; the first has 15 bits, so that its product with `whole` is exact.
  const float rest = (clamped - whole * 0.693145751953125f) - whole * 1.42860682e-6f;
  // Taylor up to the 7th power: the 8th is below 6e-9.
  float series = 1.0f / 5040;
  series = series * rest + 1.0f / 720;
  series = series * rest + 1.0f / 120;
  series = series * rest + 1.0f / 24;
  series = series * rest + 1.0f / 6;
  series = series * rest + 0.5f;
  series = series * rest + 1.0f;
  series = series * rest + 1.0f;
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127u) << 23);
  return x < -87.0f ? 0.0f : series * power;
}

// Sum of exp_of((logit - best) * scale). REQUIRES: best is finite and no logit is above it.
double exp_sum(std::span<const float> logits, float best, float scale);

}  // namespace ration
