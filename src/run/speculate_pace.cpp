// The pace of speculation: drafts as long as they pay.
//
// Source    Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding",
//           sec. 3.3 and 3.5 (expected tokens, walltime, the best draft length)
// Computes  max over drafts of (answers + sum of reach) / cost(tokens of the step), where reach of
//           a drafted token is the chance that it and all before it in its draft come true
// Departs   chances are of each token by the length of its match, not one of the whole answer: each
//           token that comes true makes the match of the next one longer. Guesses that are not run
//           are compared with what came too, so no step is spent on probing them.
//           cost is observed, not a model's share of arithmetic; a draft model's tokens are
//           added to it.
// Costs     answers x tokens a step
// Proved    test/run/speculate_test.cpp
#include "run/speculate_pace.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace ration {
namespace {

// Before anything is known: what prompts of code and of prose show, on the careful side.
constexpr std::array<double, 5> kFirstChances{0.25, 0.35, 0.5, 0.7, 0.85};
constexpr double kFirstOfModel = 0.7;
constexpr int kFirstWeight = 4;            // they count as so many observations,
constexpr int kWeightMax = 32;             // and all of the past as no more than so many
constexpr double kCostRate = 1.0 / 4;      // weight of the newest time of a step,
constexpr double kSpikeMost = 2;           // which counts as no more than this times what is known
constexpr int kFreshSteps = 64;            // After so many steps of other sizes it is forgotten
constexpr double kForgetRate = 1.0 / 256;  // bit by bit, so that what was bad luck is tried again

// What a step of so many tokens takes beside one of one token, where nothing is known.
double guessed_cost(int64_t tokens) { return 1 + 0.15 * static_cast<double>(tokens - 1); }

}  // namespace

Acceptance::Acceptance() {
  for (size_t i = 0; i < kClasses; ++i) matches_[i].chance = kFirstChances[i];
  model_.chance = kFirstOfModel;
}

size_t Acceptance::class_of(int64_t matched) {
  if (matched < 4) return static_cast<size_t>(std::max<int64_t>(matched, 2) - 2);
  return std::min<size_t>(static_cast<size_t>(std::bit_width(static_cast<uint64_t>(matched))) - 1,
                          kClasses - 1);
}

void Acceptance::Share::observe(bool came_true) {
  const int weight = std::min(kFirstWeight + ++seen, kWeightMax);
  chance += ((came_true ? 1.0 : 0.0) - chance) / weight;
}

void Acceptance::observe(int64_t matched, bool came_true) {
  matches_[class_of(matched)].observe(came_true);
}

void Acceptance::skip_model() { model_.chance += kForgetRate * (kFirstOfModel - model_.chance); }

StepCosts::StepCosts(int64_t tokens_max) : costs_(static_cast<size_t>(tokens_max) + 1) {
  CHECK(tokens_max >= 1);
}

size_t StepCosts::index_of(int64_t tokens) const {
  CHECK(tokens >= 1);
  return std::min(static_cast<size_t>(tokens), costs_.size() - 1);
}

void StepCosts::observe(int64_t tokens, Millis took) {
  if (took.count <= 0) return;
  const size_t at = index_of(tokens);
  Cost& known = costs_[at];
  const auto seen = [](const Cost& cost) { return cost.millis > 0; };
  const bool scaled = std::ranges::any_of(costs_, seen);
  const double counted = scaled ? std::min(took.count, kSpikeMost * of(tokens)) : took.count;
  known.millis += (known.millis > 0 ? kCostRate : 1) * (counted - known.millis);
  known.age = 0;
  for (size_t other = 1; other < costs_.size(); ++other) {
    Cost& cost = costs_[other];
    if (other == at || !seen(cost) || ++cost.age <= kFreshSteps) continue;
    const double guess = known.millis * guessed_cost(static_cast<int64_t>(other)) /
                         guessed_cost(static_cast<int64_t>(at));
    cost.millis += kForgetRate * (guess - cost.millis);
  }
}

// Where a step was not seen, the nearest one that was says the scale.
double StepCosts::of(int64_t tokens) const {
  const size_t at = index_of(tokens);
  for (size_t distance = 0; distance < costs_.size(); ++distance) {
    for (const size_t near : {at - std::min(at, distance), at + distance}) {
      if (near < 1 || near >= costs_.size() || costs_[near].millis == 0) continue;
      return costs_[near].millis * guessed_cost(static_cast<int64_t>(at)) /
             guessed_cost(static_cast<int64_t>(near));
    }
  }
  return guessed_cost(tokens);
}

std::vector<int64_t> draft_lengths(const StepCosts& costs, int64_t writers,
                                   std::span<const Proposal> proposals, int64_t tokens_max) {
  std::vector<int64_t> lengths(proposals.size(), 0), best = lengths;
  std::vector<double> reach(proposals.size(), 1);  // of the last token taken from each
  double expected = static_cast<double>(writers);
  double written = 0;  // by draft models
  double best_rate = expected / costs.of(writers);
  // The likeliest tokens first: so every number of tokens has its most promising ones.
  for (int64_t taken = 1; taken <= tokens_max; ++taken) {
    size_t next = proposals.size();
    double next_reach = 0;
    for (size_t i = 0; i < proposals.size(); ++i) {
      const Proposal& proposal = proposals[i];
      if (lengths[i] == proposal.tokens) continue;
      const double here = reach[i] * proposal.chance(lengths[i]);
      if (here > next_reach) {
        next = i;
        next_reach = here;
      }
    }
    if (next == proposals.size()) break;
    ++lengths[next];
    reach[next] = next_reach;
    expected += next_reach;
    written += proposals[next].share_each * costs.of(1);
    const double rate = expected / (costs.of(writers + taken) + written);
    if (rate > best_rate) {
      best_rate = rate;
      best = lengths;
    }
  }
  return best;
}

}  // namespace ration
