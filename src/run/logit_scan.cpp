#include "run/logit_scan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace ration {
namespace {

// Independent partial results: the compiler may keep them in vector registers, and the order of the
// arithmetic is this one on every machine.
constexpr size_t kLanes = 16;

struct BlockMax {
  float logit;
  bool sound;  // neither NaN nor +infinity among them
};

BlockMax block_max(std::span<const float> block) {
  std::array<float, kLanes> highest;
  highest.fill(-kInfinity);
  std::array<uint32_t, kLanes> unsound{};
  size_t i = 0;
  for (; i + kLanes <= block.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float x = block[i + lane];
      highest[lane] = x > highest[lane] ? x : highest[lane];
      unsound[lane] |= x < kInfinity ? 0u : 1u;
    }
  }
  for (; i < block.size(); ++i) {
    highest[0] = block[i] > highest[0] ? block[i] : highest[0];
    unsound[0] |= block[i] < kInfinity ? 0u : 1u;
  }
  return {*std::max_element(highest.begin(), highest.end()),
          std::all_of(unsound.begin(), unsound.end(), [](uint32_t lane) { return lane == 0; })};
}

double block_exp_sum(std::span<const float> block, float best, float scale) {
  std::array<float, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= block.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += exp_of((block[i + lane] - best) * scale);
    }
  }
  for (; i < block.size(); ++i) sums[0] += exp_of((block[i] - best) * scale);
  double sum = 0;
  for (const float lane : sums) sum += static_cast<double>(lane);
  return sum;
}

template <class Visit>  // visit(first id, block)
void for_each_block(std::span<const float> logits, Visit visit) {
  for (size_t begin = 0; begin < logits.size(); begin += kLogitBlock) {
    visit(begin, logits.subspan(begin, std::min(kLogitBlock, logits.size() - begin)));
  }
}

Token first_of(size_t begin, std::span<const float> block, float logit) {
  const auto found = std::find(block.begin(), block.end(), logit);
  return static_cast<Token>(begin + static_cast<size_t>(found - block.begin()));
}

LogitScan scan(std::span<const float> logits, bool wants_sum) {
  LogitScan out{.best = {0, -kInfinity}, .log_sum_exp = -static_cast<double>(kInfinity)};
  double sum = 0;  // of exp(logit - best so far)
  for_each_block(logits, [&](size_t begin, std::span<const float> block) {
    if (out.not_a_number >= 0) return;
    const BlockMax max = block_max(block);
    if (!max.sound) {
      const auto found = std::find_if(block.begin(), block.end(),
                                      [](float logit) { return !(logit < kInfinity); });
      out.not_a_number = static_cast<Token>(begin + static_cast<size_t>(found - block.begin()));
      return;
    }
    if (max.logit > out.best.logit) {
      // The first finite block: exp(-infinity) * 0 is the 0 we want.
      sum *= std::exp(static_cast<double>(out.best.logit) - static_cast<double>(max.logit));
      out.best = {first_of(begin, block, max.logit), max.logit};
    }
    if (wants_sum && out.best.logit > -kInfinity) sum += block_exp_sum(block, out.best.logit, 1.0f);
  });
  if (sum > 0) out.log_sum_exp = static_cast<double>(out.best.logit) + std::log(sum);
  if (!wants_sum) out.log_sum_exp = std::numeric_limits<double>::quiet_NaN();
  return out;
}

}  // namespace

LogitScan scan_logits(std::span<const float> logits) { return scan(logits, true); }

LogitScan scan_best(std::span<const float> logits) { return scan(logits, false); }

TokenLogit best_logit(std::span<const float> logits) {
  TokenLogit best{0, -kInfinity};
  for_each_block(logits, [&](size_t begin, std::span<const float> block) {
    const float highest = block_max(block).logit;
    if (highest > best.logit) best = {first_of(begin, block, highest), highest};
  });
  return best;
}

void select_best(std::span<const float> logits, size_t count, std::vector<TokenLogit>& out) {
  out.clear();
  const size_t filled = count + std::max<size_t>(count, 256);
  // Ids rise, so a later logit equal to the worst one kept is worse than all of them.
  float threshold = -kInfinity;
  const auto cut = [&] {
    std::nth_element(out.begin(), out.begin() + static_cast<ptrdiff_t>(count - 1), out.end(),
                     better);
    out.resize(count);
    threshold = out.back().logit;
  };
  for_each_block(logits, [&](size_t begin, std::span<const float> block) {
    if (!(block_max(block).logit > threshold)) return;
    for (size_t i = 0; i < block.size(); ++i) {
      if (!(block[i] > threshold)) continue;
      out.push_back({static_cast<Token>(begin + i), block[i]});
      if (out.size() == filled) cut();
    }
  });
  if (out.size() > count) cut();
  std::sort(out.begin(), out.end(), better);
}

void select_at_least(std::span<const float> logits, float least, std::vector<TokenLogit>& out) {
  out.clear();
  for_each_block(logits, [&](size_t begin, std::span<const float> block) {
    if (block_max(block).logit < least) return;
    for (size_t i = 0; i < block.size(); ++i) {
      if (block[i] >= least) out.push_back({static_cast<Token>(begin + i), block[i]});
    }
  });
}

double exp_sum(std::span<const float> logits, float best, float scale) {
  double sum = 0;
  for_each_block(logits, [&](size_t, std::span<const float> block) {
    sum += block_exp_sum(block, best, scale);
  });
  return sum;
}

}  // namespace ration
