// What the runner does as the scheduler says: who comes in, who steps back, and the next step.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "run/runner.h"
#include "run/runner_answer.h"

namespace ration {

// The active answers, then those that wait.
std::vector<ScheduledAnswer> Runner::describe() const {
  std::vector<ScheduledAnswer> described;
  described.reserve(active_.size() + waiting_.size());
  const std::vector<PrefixSource> sources = running();
  for (const std::vector<AnswerPtr>* group : {&active_, &waiting_}) {
    for (const AnswerPtr& answer : *group) {
      described.push_back({.id = answer->id,
                           .key = answer->request.key,
                           .priority = answer->request.priority,
                           .arrived = to_millis(answer->submitted_ns),
                           .prompt = answer->prompt_size(),
                           .generated = answer->generated(),
                           .computed = answer->computed(),
                           .active = group == &active_});
      const auto& deadline = answer->request.deadline;
      if (!deadline) continue;
      described.back().deadline = described.back().arrived + *deadline;
      if (group == &waiting_ && options_.prefix_bytes > Bytes{0}) {
        described.back().computed = prefixes_.longest(query_of(*answer), sources);
      }
    }
  }
  return described;
}

// Brings answers in, and makes them step back or end, as the scheduler says.
void Runner::schedule() {
  const Millis now = to_millis(clock_.now_ns());
  while (true) {
    const ScheduleMove move =
        scheduler_.next_move(now, describe(), engine_.kv_blocks_free() + engine_.kv_blocks_spare());
    switch (move.kind) {
      case ScheduleMove::Kind::kNone:
        return;
      case ScheduleMove::Kind::kAdmit:
        admit(move.answer);
        break;
      case ScheduleMove::Kind::kStepBack:
        step_back(move.answer);
        break;
      case ScheduleMove::Kind::kRefuse: {
        const AnswerPtr answer = take(move.answer);
        finish(*answer, FinishReason::kFailed, "deadline",
               Error{Code::kDeadline,
                     fmt::format("the deadline of {:.0f} ms is too near: a prompt of {} tokens "
                                 "takes about {:.0f} ms",
                                 answer->request.deadline->count, answer->prompt_size(),
                                 scheduler_.times().least_read_token().count *
                                     static_cast<double>(answer->prompt_size()))});
        break;
      }
    }
  }
}

// Out of the list it is in.
Runner::AnswerPtr Runner::take(size_t described) {
  const bool is_active = described < active_.size();
  std::vector<AnswerPtr>& group = is_active ? active_ : waiting_;
  const auto at =
      group.begin() + static_cast<int64_t>(described - (is_active ? 0 : active_.size()));
  AnswerPtr answer = std::move(*at);
  group.erase(at);
  return answer;
}

void Runner::admit(size_t described) {
  AnswerPtr answer = take(described);
  answer->sequence = engine_.open();
  if (!answer->started_ns) answer->started_ns = clock_.now_ns();
  answer->listener.on_place(true);
  active_.push_back(std::move(answer));
  std::ranges::sort(active_, {}, [](const AnswerPtr& a) { return a->id; });
}

// Frees its part of the cache.
void Runner::step_back(size_t described) {
  AnswerPtr answer = take(described);
  retire(*answer);
  answer->lookup.reset();
  answer->model.reset();
  answer->guess.clear();
  answer->listener.on_place(false);
  waiting_.push_back(std::move(answer));
  std::ranges::sort(waiting_, {}, [](const AnswerPtr& a) { return a->id; });
}

PrefixSource Runner::source_of(const Answer& answer) const {
  const bool apart = !options_.share_prefixes;
  return {answer.tokens, answer.sequence.get(), apart ? answer.request.key : std::string_view()};
}

PrefixQuery Runner::query_of(const Answer& answer) const {
  return {.tokens = answer.tokens,
          .prompt = answer.prompt_size(),
          .owner = source_of(answer).owner,
          .prompt_only = options_.reproducible};
}

std::vector<PrefixSource> Runner::running() const {
  std::vector<PrefixSource> sources;
  for (const AnswerPtr& answer : active_) {
    if (answer->computed() > 0) sources.push_back(source_of(*answer));
  }
  return sources;
}

// An answer of which nothing is computed begins with what others have.
void Runner::reuse(Answer& answer) {
  if (options_.prefix_bytes == Bytes{0} || answer.computed() > 0) return;
  std::unique_ptr<Sequence> found = prefixes_.find(query_of(answer), running());
  if (found) answer.sequence = std::move(found);
  if (!answer.cached) answer.cached = answer.computed();
}

// What an answer has computed is kept for later.
void Runner::retire(Answer& answer) {
  if (!answer.sequence) return;
  // Guesses may stand behind the last token, and that one's turn has not come.
  const int64_t known = static_cast<int64_t>(answer.tokens.size()) - 1;
  if (answer.computed() > known) answer.sequence->truncate(known);
  prefixes_.keep(std::move(answer.sequence), answer.tokens, source_of(answer).owner);
}

// Windowed layers will have forgotten the prompt when the answer ends: it is kept by itself.
void Runner::keep_prompt(const Answer& answer) {
  if (options_.prefix_bytes == Bytes{0} || answer.sequence->length_min() == 0) return;
  Result<std::unique_ptr<Sequence>> fork =
      engine_.fork(*answer.sequence, answer.sequence->length());
  if (fork) prefixes_.keep(std::move(*fork), answer.tokens, source_of(answer).owner);
}

Runner::Step Runner::next_step() {
  Step step{.described = describe()};
  step.shares = scheduler_.compose(to_millis(clock_.now_ns()), step.described);
  for (const StepShare& share : step.shares) {
    Answer& answer = *active_[share.answer];
    reuse(answer);
    const std::span<const Token> tokens = answer.next_tokens(share.tokens);
    const int64_t after = answer.computed() + static_cast<int64_t>(tokens.size());
    step.answers.push_back(&answer);
    step.items.push_back({.sequence = answer.sequence.get(),
                          .tokens = tokens,
                          .role = answer.role(),
                          .wants_logits = after >= static_cast<int64_t>(answer.tokens.size()),
                          .wants_all_logits = answer.drafted > 0,
                          .best_logits = answer.sampler.best_logits()});
  }
  return step;
}

}  // namespace ration
