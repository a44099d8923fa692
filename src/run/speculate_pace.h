// run/speculate_pace.h - how many guessed tokens are worth running. Private to run/.
//
// A step of several tokens takes longer than one of one token, and pays when enough of them come
// true. Both sides are observed, so that speculation stops by itself where it does not pay.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/unit.h"

namespace ration {

// How often guesses come true, by how much stood behind them. single-thread: one object an answer.
class Acceptance {
 public:
  Acceptance();
  // The chance that the token after a match of so many tokens is guessed right.
  double chance(int64_t matched) const { return matches_[class_of(matched)].chance; }
  void observe(int64_t matched, bool came_true);

  // The same of a draft model's next token. Its guesses are not seen unless it is run, so what was
  // seen fades with every step that does without it, and it is tried again some time.
  double chance_of_model() const { return model_.chance; }
  void observe_model(bool came_true) { model_.observe(came_true); }
  void skip_model();

 private:
  struct Share {
    double chance = 0;
    int seen = 0;
    void observe(bool came_true);
  };
  static size_t class_of(int64_t matched);

  // Of matches of 2, 3, 4-7, 8-15, 16 and more tokens.
  static constexpr size_t kClasses = 5;
  std::array<Share, kClasses> matches_;
  Share model_;
};

// What steps take, by how many tokens they run. single-thread: one object an engine.
class StepCosts {
 public:
  // Steps of more than `tokens_max` tokens are not told apart.
  explicit StepCosts(int64_t tokens_max);
  // A span of 0 says nothing: a simulated clock that stands still.
  void observe(int64_t tokens, Millis took);
  // Only ratios mean anything.
  double of(int64_t tokens) const;

 private:
  size_t index_of(int64_t tokens) const;

  struct Cost {
    double millis = 0;  // 0: not seen yet
    int age = 0;        // observations of other steps since
  };
  std::vector<Cost> costs_;  // by tokens
};

// What may be run of one answer's guesses.
struct Proposal {
  int64_t tokens = 0;   // how many there are
  int64_t matched = 0;  // what stands behind the first of them
  const Acceptance* acceptance = nullptr;
  // Above 0: a draft model would write them, each for this share of a step of one token.
  double share_each = 0;

  double chance(int64_t index) const {
    return share_each > 0 ? acceptance->chance_of_model() : acceptance->chance(matched + index);
  }
};

// How many tokens of each proposal to run in a step of `writers` answers, at most `tokens_max` in
// all: what makes the most expected tokens a second. All 0 when that is a step without drafts.
std::vector<int64_t> draft_lengths(const StepCosts& costs, int64_t writers,
                                   std::span<const Proposal> proposals, int64_t tokens_max);

}  // namespace ration
