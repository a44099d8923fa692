#include "plan/replay.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sim/event_loop.h"

namespace ration {
namespace {

using Kind = ReplayEvent::Kind;

// Stands for the runner and its engine.
class SimulatedRunner {
 public:
  SimulatedRunner(std::span<const TraceRow> trace, Scheduler& scheduler, const StepCostModel& costs,
                  int64_t blocks)
      : trace_(trace), scheduler_(scheduler), costs_(costs), blocks_(blocks) {
    replay_.answers.resize(trace.size());
    last_token_.resize(trace.size());
  }

  Replay run() {
    for (size_t row = 0; row < trace_.size(); ++row) {
      loop_.at(trace_[row].at, [this, row] { arrive(row); });
    }
    loop_.run();
    CHECK(answers_.empty());
    replay_.end = loop_.now();
    return std::move(replay_);
  }

 private:
  void note(Kind kind, size_t row) { replay_.events.push_back({loop_.now(), kind, row}); }

  int64_t blocks_for(int64_t tokens) const {
    const int64_t block = scheduler_.options().block_tokens;
    return (tokens + block - 1) / block;
  }
  int64_t blocks_free() const {
    int64_t held = 0;
    for (const ScheduledAnswer& answer : answers_) {
      if (answer.active) held += blocks_for(answer.computed);
    }
    return blocks_ - held;
  }

  void arrive(size_t row) {
    inbox_.push_back(row);
    // All who come at one time are there before the step begins.
    if (!std::exchange(busy_, true)) loop_.after({}, [this] { begin_step(); });
  }

  // Between two steps: nobody is heard during one.
  void take_inbox() {
    for (const size_t row : std::exchange(inbox_, {})) {
      const TraceRow& asked = trace_[row];
      if (blocks_for(asked.prompt) > blocks_) {
        end(Kind::kRefuse, row);
        continue;
      }
      answers_.push_back({.id = row,
                          .key = asked.key,
                          .priority = asked.priority,
                          .arrived = loop_.now(),
                          .prompt = asked.prompt});
      if (asked.deadline) answers_.back().deadline = asked.at + *asked.deadline;
    }
  }

  void end(Kind kind, size_t row) {
    note(kind, row);
    replay_.answers[row].finished = loop_.now();
  }

  void drop_late() {
    std::erase_if(answers_, [&](const ScheduledAnswer& answer) {
      const bool late = answer.deadline && loop_.now() >= *answer.deadline;
      if (late) end(answer.generated > 0 ? Kind::kFinish : Kind::kRefuse, answer.id);
      return late;
    });
  }

  void move_answers() {
    while (true) {
      const ScheduleMove move = scheduler_.next_move(loop_.now(), answers_, blocks_free());
      if (move.kind == ScheduleMove::Kind::kNone) return;
      ScheduledAnswer& answer = answers_[move.answer];
      if (move.kind == ScheduleMove::Kind::kAdmit) {
        answer.active = true;
        note(Kind::kAdmit, answer.id);
      } else if (move.kind == ScheduleMove::Kind::kStepBack) {
        step_back(answer);
      } else {
        end(Kind::kRefuse, answer.id);
        answers_.erase(answers_.begin() + static_cast<int64_t>(move.answer));
      }
    }
  }

  void step_back(ScheduledAnswer& answer) {
    answer.active = false;
    answer.computed = 0;
    ++replay_.answers[answer.id].step_backs;
    note(Kind::kStepBack, answer.id);
  }

  bool fits(std::span<const StepShare> shares) const {
    int64_t wanted = 0;
    for (const StepShare& share : shares) {
      const int64_t computed = answers_[share.answer].computed;
      wanted += blocks_for(computed + share.tokens) - blocks_for(computed);
    }
    return wanted <= blocks_free();
  }

  void begin_step() {
    take_inbox();
    drop_late();
    move_answers();
    if (std::ranges::none_of(answers_, &ScheduledAnswer::active)) {
      busy_ = false;
      return;
    }
    std::vector<StepShare> shares = scheduler_.compose(loop_.now(), answers_);
    while (!fits(shares)) {
      const std::optional<size_t> victim = scheduler_.victim(answers_);
      if (!victim) {
        ScheduledAnswer& only = answers_[shares.front().answer];
        end(only.generated > 0 ? Kind::kFinish : Kind::kRefuse, only.id);
        answers_.erase(answers_.begin() + static_cast<int64_t>(shares.front().answer));
        return begin_step();
      }
      step_back(answers_[*victim]);
      shares = scheduler_.compose(loop_.now(), answers_);
    }
    Millis took = costs_.step;
    for (const StepShare& share : shares) {
      const ScheduledAnswer& answer = answers_[share.answer];
      const bool prompt = answer.computed < answer.prompt;
      took += (prompt ? costs_.read : costs_.write) * static_cast<double>(share.tokens);
    }
    const int64_t began_ns = loop_.now_ns();
    loop_.after(took, [this, began_ns, shares = std::move(shares)] {
      scheduler_.observe(answers_, shares, loop_.since(began_ns));
      end_step(shares);
    });
  }

  void end_step(std::span<const StepShare> shares) {
    std::vector<uint64_t> done;
    for (const StepShare& share : shares) {
      ScheduledAnswer& answer = answers_[share.answer];
      answer.computed += share.tokens;
      if (answer.computed == answer.tokens() && write_token(answer)) done.push_back(answer.id);
    }
    std::erase_if(answers_, [&](const ScheduledAnswer& answer) {
      return std::ranges::find(done, answer.id) != done.end();
    });
    drop_late();
    begin_step();
  }

  // True when it was the last one.
  bool write_token(ScheduledAnswer& answer) {
    ReplayAnswer& result = replay_.answers[answer.id];
    const int64_t wanted = trace_[answer.id].answer;
    if (wanted > 0) {
      ++answer.generated;
      result.generated = answer.generated;
      if (answer.generated == 1) {
        note(Kind::kFirstToken, answer.id);
        result.first_token = loop_.now();
      } else {
        const Millis gap = loop_.now() - last_token_[answer.id];
        result.longest_gap = std::max(result.longest_gap, gap);
      }
      last_token_[answer.id] = loop_.now();
    }
    if (answer.generated < wanted) return false;
    end(Kind::kFinish, answer.id);
    return true;
  }

  const std::span<const TraceRow> trace_;
  Scheduler& scheduler_;
  const StepCostModel costs_;
  const int64_t blocks_;
  EventLoop loop_;
  std::vector<size_t> inbox_;             // rows
  std::vector<ScheduledAnswer> answers_;  // in order of arrival; the id is the row
  std::vector<Millis> last_token_;        // by row
  bool busy_ = false;
  Replay replay_;
};

}  // namespace

Replay replay_schedule(std::span<const TraceRow> trace, Scheduler& scheduler,
                       const StepCostModel& costs, int64_t blocks) {
  return SimulatedRunner(trace, scheduler, costs, blocks).run();
}

}  // namespace ration
