// What the runner does as the scheduler says: who comes in, who steps back, and the next step.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "run/runner.h"
#include "run/runner_answer.h"

namespace ration {
namespace {

Millis to_millis(int64_t ns) { return Millis{static_cast<double>(ns) * 1e-6}; }

}  // namespace

// The active answers, then those that wait.
std::vector<ScheduledAnswer> Runner::describe() const {
  std::vector<ScheduledAnswer> described;
  described.reserve(active_.size() + waiting_.size());
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
      if (deadline) described.back().deadline = described.back().arrived + *deadline;
    }
  }
  return described;
}

// Brings answers in, and makes them step back or end, as the scheduler says.
void Runner::schedule() {
  const Millis now = to_millis(clock_.now_ns());
  while (true) {
    const ScheduleMove move = scheduler_.next_move(now, describe(), engine_.kv_blocks_free());
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
  answer->sequence.reset();
  answer->lookup.reset();
  answer->model.reset();
  answer->guess.clear();
  answer->listener.on_place(false);
  waiting_.push_back(std::move(answer));
  std::ranges::sort(waiting_, {}, [](const AnswerPtr& a) { return a->id; });
}

Runner::Step Runner::next_step() {
  Step step{.described = describe()};
  step.shares = scheduler_.compose(to_millis(clock_.now_ns()), step.described);
  for (const StepShare& share : step.shares) {
    Answer& answer = *active_[share.answer];
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
