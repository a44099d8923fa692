// run/speculate_lookup.h - the next tokens of an answer, guessed from what it said before.
//
// A guess costs no arithmetic, only a look: where the last tokens stood before, what followed then
// may follow now. Private to run/.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/budget.h"
#include "base/result.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {

// single-thread: one object an answer.
class PromptLookup {
 public:
  // For an answer of at most `tokens` tokens, its prompt included. Charged under Tag::kScratch;
  // kOverBudget when there is no room.
  static Result<std::unique_ptr<PromptLookup>> make(int64_t tokens, Budget& budget);
  // What make() charges.
  static Bytes bytes(int64_t tokens);

  // Appends up to `count_max` guesses to `draft` and returns how many of the last tokens stood
  // before in the same order: 0 when there is no guess, else at least 2 and at most kMatchMax.
  // REQUIRES: tokens begins with those of the call before.
  int64_t propose(std::span<const Token> tokens, int64_t count_max, std::vector<Token>& draft);

  static constexpr int64_t kMatchMax = 32;

 private:
  explicit PromptLookup(int64_t slots)
      : newest_(static_cast<size_t>(slots), -1), older_(static_cast<size_t>(slots), -1) {}

  Charge charge_;
  int64_t indexed_ = 1;          // pairs that end before this position are in the index
  std::vector<int32_t> newest_;  // by hash of a pair of tokens: where the newest such pair ends
  std::vector<int32_t> older_;   // by that position modulo the size: where the one before it ends
};

}  // namespace ration
