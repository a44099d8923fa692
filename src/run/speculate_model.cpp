// A draft model: a smaller model writes ahead, the larger one checks.
//
// Source    Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding",
//           sec. 2 and 3.1
// Computes  greedy continuations of the answer so far; tokens of the cache that the answer did not
//           take are dropped before the next
// Departs   the draft is always greedy, so that checking it is comparing tokens: answers are those
//           without it for every sampling option, not only alike in distribution
// Costs     a step of the smaller model a token, and once its reading of the prompt
// Proved    test/run/speculate_test.cpp
#include "run/speculate_model.h"

#include <fmt/core.h>

#include <algorithm>

#include "run/logit_scan.h"

namespace ration {

Status check_same_vocabulary(const std::string& name, const Model& model,
                             const std::string& draft_name, const Model& draft) {
  const Tokenizer &ours = model.tokenizer(), &theirs = draft.tokenizer();
  const int64_t wanted = model.network().vocabulary, found = draft.network().vocabulary;
  if (wanted != found || ours.size() != theirs.size()) {
    return Error{Code::kInvalid,
                 fmt::format("{} cannot draft for {}: found a vocabulary of {} tokens, wanted {}",
                             draft_name, name, found, wanted)};
  }
  for (Token token = 0; token < ours.size(); ++token) {
    if (ours.piece(token, true) == theirs.piece(token, true)) continue;
    return Error{Code::kInvalid,
                 fmt::format("{} cannot draft for {}: found another text for token {}, wanted the "
                             "same vocabulary",
                             draft_name, name, token)};
  }
  return {};
}

void DraftModel::forget() {
  sequence_.reset();
  read_.clear();
}

// Feeds tokens and returns the likeliest one after them.
Result<Token> DraftModel::read(std::span<const Token> tokens) {
  const auto step_max = static_cast<size_t>(engine_.options().step_tokens_max);
  while (!tokens.empty()) {
    const std::span<const Token> now = tokens.first(std::min(step_max, tokens.size()));
    const StepItem item{.sequence = sequence_.get(),
                        .tokens = now,
                        .role = now.size() > 8 ? Role::kPrompt : Role::kGenerated,
                        .wants_logits = now.size() == tokens.size(),
                        .best_logits = 1};
    if (Status stepped = engine_.step({&item, 1}); !stepped) return stepped.error();
    read_.insert(read_.end(), now.begin(), now.end());
    tokens = tokens.subspan(now.size());
  }
  const LogitScan scan = scan_best(engine_.logits(0));
  if (scan.not_a_number >= 0) return Error{Code::kCorrupt, "the draft model made no number"};
  return scan.best.token;
}

void DraftModel::propose(std::span<const Token> tokens, int64_t count, std::vector<Token>& draft) {
  CHECK(!tokens.empty());
  if (count < 1) return;
  if (static_cast<int64_t>(tokens.size()) + count - 1 > engine_.options().context) return forget();
  if (!sequence_) sequence_ = engine_.open();
  const auto parted = std::ranges::mismatch(read_, tokens).in1 - read_.begin();
  int64_t kept = std::min<int64_t>(parted, static_cast<int64_t>(tokens.size()) - 1);
  if (kept < sequence_->length_min()) kept = 0;  // windowed layers have forgotten what is needed
  sequence_->truncate(kept);
  read_.resize(static_cast<size_t>(kept));
  const size_t begin = draft.size();
  Result<Token> next = read(tokens.subspan(read_.size()));
  while (next) {
    draft.push_back(*next);
    if (static_cast<int64_t>(draft.size() - begin) == count) return;
    const Token last = *next;
    next = read(std::span(&last, 1));
  }
  draft.resize(begin);
  forget();
}

}  // namespace ration
