// run/runner_answer.h - one answer of a runner, and the step it takes part in. Private to the
// runner's files.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "run/runner.h"
#include "run/speculate_lookup.h"
#include "run/speculate_model.h"

namespace ration {

struct Runner::Answer {
  Answer(RequestId id_in, Request request_in, Listener& listener_in, int32_t vocabulary)
      : id(id_in),
        request(std::move(request_in)),
        listener(listener_in),
        sampler(request.sampler, vocabulary, request.prompt),
        stream(request.stops),
        tokens(request.prompt) {}

  int64_t prompt_size() const { return static_cast<int64_t>(request.prompt.size()); }
  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_size(); }
  int64_t computed() const { return sequence ? sequence->length() : 0; }
  // The next tokens to compute: one role at a time.
  std::span<const Token> next_tokens(int64_t count_max) const {
    if (drafted > 0) return {guess.data(), static_cast<size_t>(1 + drafted)};
    const int64_t begin = computed();
    const int64_t size = static_cast<int64_t>(tokens.size());
    const int64_t end = begin < prompt_size() ? prompt_size() : size;
    return {tokens.data() + begin, static_cast<size_t>(std::min(end - begin, count_max))};
  }
  Role role() const { return computed() < prompt_size() ? Role::kPrompt : Role::kGenerated; }
  // Only its newest token is missing from the cache.
  bool writes() const {
    return computed() + 1 == static_cast<int64_t>(tokens.size()) && generated() > 0;
  }

  const RequestId id;
  const Request request;
  Listener& listener;
  Sampler sampler;
  TextStream stream;
  std::vector<Token> tokens;  // the prompt, then what was generated
  std::unique_ptr<Sequence> sequence;
  std::unique_ptr<PromptLookup> lookup;  // null: nothing is guessed
  std::unique_ptr<DraftModel> model;     // null: it was not asked yet
  Acceptance acceptance;
  std::vector<Token> guess;  // in a step that may draft: the newest token, then what may follow
  int64_t matched = 0;       // what stands behind that
  bool by_model = false;     // the draft model guesses, not the text so far
  int64_t drafted = 0;       // so many of what may follow are run
  std::optional<DraftCount> drafts;
  std::optional<int64_t> cached;  // prompt tokens taken over; none: it has not begun
  bool cancelled = false;
  bool done = false;
  int64_t submitted_ns = 0;
  std::optional<int64_t> started_ns;  // first admitted
  std::optional<int64_t> first_token_ns;
};

// What the engine runs next, and what that was decided on.
struct Runner::Step {
  std::vector<ScheduledAnswer> described;
  std::vector<StepShare> shares;
  std::vector<Answer*> answers;  // as the shares
  std::vector<StepItem> items;   // as the shares
};

}  // namespace ration
