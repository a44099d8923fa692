// Scheduling of steps: continuous batching, prompts in chunks, fair shares, priorities, deadlines.
//
// Source    Yu et al. 2022, "Orca: A Distributed Serving System for Transformer-Based Generative
//           Models", sec. 4.1 (who is here shares each step); Agrawal et al. 2024, "Taming
//           Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", sec. 4 (prompts in
//           chunks beside the tokens that are written); Sheng et al. 2024, "Fairness in Serving
//           Large Language Models", algorithm 2 (virtual token counters)
// Computes  chunk = max(inter_token x min(readers, 4) - write, write / 2) / read, where write is
//           what the writers take alone and read what a token of a prompt takes;
//           served(key) += read + 2 generated, lifted to the least of those present when the key
//           comes back; order: priority and patience, who was begun, served(key), due time
// Departs   the chunk follows measured times instead of a profile made beforehand. Counters are
//           compared in quanta, so that a prompt that was begun is finished rather than sharing
//           every step. Of a crowd of prompts more is read in a step: on a CPU a token costs less
//           in a step of many, and the last of them waits for all. Within a key not the first but
//           the one that is due first: arrival plus what its own prompt takes, so a short prompt is
//           not behind a long one, and no one waits for ever. Step-backs compute again: on a CPU
//           the cache lies in the same memory that the budget counts, so a spilled block would free
//           nothing.
// Costs     answers x log(keys) a move, answers x log(answers) a step
// Proved    test/plan/schedule_test.cpp, test/run/schedule_test.cpp
#include "plan/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace ration {
namespace {

constexpr double kTimeRate = 1.0 / 4;    // weight of the newest time,
constexpr double kSpikeMost = 2;         // which counts as no more than this times what is known
constexpr double kLeastRise = 1.0 / 64;  // how fast the least is forgotten
constexpr int64_t kChunkRound = 8;       // kernels take tokens in groups

// A due time this many times what a prompt takes to read after it came.
constexpr double kDueFactor = 2;

void follow(Millis& known, Millis seen) {
  if (known.count <= 0) {
    known = seen;
    return;
  }
  const double counted = std::min(seen.count, kSpikeMost * known.count);
  known.count += kTimeRate * (counted - known.count);
}

// Of the active answers the youngest of the lowest priority. REQUIRES: there is one.
size_t last_of(std::span<const ScheduledAnswer> answers) {
  std::optional<size_t> last;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].active) continue;
    const auto order = [&](size_t at) {
      return std::make_tuple(-answers[at].priority, answers[at].id);
    };
    if (!last || order(i) > order(*last)) last = i;
  }
  return last.value();
}

}  // namespace

StepTimes::StepTimes(int64_t answers_max) : write_(static_cast<size_t>(answers_max) + 1) {
  CHECK(answers_max >= 1);
}

void StepTimes::observe(int64_t writers, int64_t read, Millis took) {
  if (took.count <= 0) return;
  CHECK(writers >= 0 && writers < static_cast<int64_t>(write_.size()));
  if (read == 0) return follow(write_[static_cast<size_t>(writers)], took);
  const Millis alone = write(writers);
  // Where only steps that read were seen, the writers are among what reading takes.
  const double left = std::max(took.count - alone.count, 0.05 * took.count);
  const Millis each{left / static_cast<double>(read)};
  follow(read_token_, each);
  if (writers > 0) return;
  const double risen = least_read_token_.count * (1 + kLeastRise);
  least_read_token_.count = risen > 0 ? std::min(risen, each.count) : each.count;
}

Millis StepTimes::write(int64_t writers) const {
  if (writers == 0) return {};
  // The nearest number that was seen, the smaller one first.
  const auto at = static_cast<size_t>(writers);
  for (size_t distance = 0; distance < write_.size(); ++distance) {
    for (const size_t near : {at - std::min(at, distance), at + distance}) {
      if (near >= 1 && near < write_.size() && write_[near].count > 0) return write_[near];
    }
  }
  return {};
}

// Smaller goes first.
struct Scheduler::Rank {
  int64_t level;   // priority and patience, negated
  bool fresh;      // nobody reads it yet: who was cut off in the middle goes on first
  int64_t served;  // of its key, in quanta
  double due_ms;
  uint64_t id;

  friend auto operator<=>(const Rank&, const Rank&) = default;
};

Scheduler::Scheduler(SchedulerOptions options) : options_(options), times_(options.answers_max) {
  CHECK(options.answers_max <= options.step_tokens_max);
  CHECK(options.step_tokens_max >= 1 && options.block_tokens >= 1 && options.chunk_min >= 1);
  CHECK(options.patience.count > 0 && options.share_quantum > 0);
}

int64_t Scheduler::blocks_for(int64_t tokens) const {
  return (tokens + options_.block_tokens - 1) / options_.block_tokens;
}

double Scheduler::served(std::string_view key) const {
  const auto share = shares_.find(key);
  return share == shares_.end() ? floor_ : share->second.served;
}

// A key that comes back starts no lower than those who are here, or it would have saved up; what it
// had too much is still known, as long as it is more than theirs.
void Scheduler::note_present(std::span<const ScheduledAnswer> answers) {
  std::set<std::string_view> here;
  for (const ScheduledAnswer& answer : answers) here.insert(answer.key);
  double least = std::numeric_limits<double>::infinity();
  double left = 0;
  for (auto& [key, share] : shares_) {
    if (!share.present) continue;
    share.present = here.contains(key);
    if (share.present) least = std::min(least, share.served);
    left = std::max(left, share.served);
  }
  // Nobody stayed: what was served to who was alone is not held against them.
  floor_ = std::max(floor_, std::isfinite(least) ? least : left);
  std::erase_if(shares_, [&](const auto& entry) {
    return !entry.second.present && entry.second.served <= floor_;
  });
  for (const std::string_view key : here) {
    auto share = shares_.find(key);
    if (share == shares_.end()) share = shares_.emplace(std::string(key), Share{}).first;
    if (!share->second.present) share->second.served = std::max(share->second.served, floor_);
    share->second.present = true;
  }
}

// What reading the rest of its prompt takes at least.
double Scheduler::reading_ms(const ScheduledAnswer& answer) const {
  const int64_t left = std::max<int64_t>(answer.prompt - answer.computed, 0);
  return static_cast<double>(left) * times_.least_read_token().count;
}

Scheduler::Rank Scheduler::rank(Millis now, const ScheduledAnswer& answer) const {
  const double waited = std::max((now - answer.arrived).count, 0.0);
  const auto rises = static_cast<int64_t>(waited / options_.patience.count);
  return {.level = -(answer.priority + rises),
          .fresh = answer.generated == 0,
          .served = static_cast<int64_t>(served(answer.key) / options_.share_quantum),
          .due_ms = answer.arrived.count + kDueFactor * reading_ms(answer),
          .id = answer.id};
}

// Even alone its prompt would take longer than is left. Half of what is known: a refusal must not
// come from a slow moment.
bool Scheduler::hopeless(Millis now, const ScheduledAnswer& answer) const {
  if (!answer.deadline || answer.generated > 0) return false;
  return (*answer.deadline - now).count < reading_ms(answer) / 2;
}

ScheduleMove Scheduler::next_move(Millis now, std::span<const ScheduledAnswer> answers,
                                  int64_t blocks_free) {
  note_present(answers);
  std::optional<std::pair<Rank, size_t>> first;  // of those who wait
  int64_t active = 0;
  int64_t room = blocks_free;  // less what active answers have not taken yet
  for (size_t i = 0; i < answers.size(); ++i) {
    const ScheduledAnswer& answer = answers[i];
    if (answer.active) {
      ++active;
      room -= blocks_for(answer.tokens()) - blocks_for(answer.computed);
    } else if (hopeless(now, answer)) {
      return {ScheduleMove::Kind::kRefuse, i};
    } else if (const Rank here = rank(now, answer); !first || here < first->first) {
      first = {here, i};
    }
  }
  if (!first) return {};
  const ScheduledAnswer& next = answers[first->second];
  const int64_t wanted = blocks_for(next.tokens()) + 1;
  if (active == 0 || (active < options_.answers_max && room >= wanted)) {
    return {ScheduleMove::Kind::kAdmit, first->second};
  }
  // A stated priority takes the place of a lower one; patience alone does not, or they would take
  // turns. Who steps back must rank lower too, or it would come right back.
  std::vector<ScheduledAnswer> below;
  std::vector<size_t> index;
  for (size_t i = 0; i < answers.size(); ++i) {
    const ScheduledAnswer& answer = answers[i];
    if (!answer.active || answer.priority >= next.priority) continue;
    if (rank(now, answer).level <= first->first.level) continue;
    room += blocks_for(answer.tokens());
    below.push_back(answer);
    index.push_back(i);
  }
  const bool helps = room >= wanted || std::ssize(below) == active;
  if (below.empty() || !helps) return {};
  return {ScheduleMove::Kind::kStepBack, index[last_of(below)]};
}

int64_t Scheduler::chunk_beside(int64_t writers, int64_t readers) const {
  if (writers == 0) return options_.step_tokens_max;
  const double each = times_.read_token().count;
  if (each <= 0) return options_.chunk_min;
  const double alone = times_.write(writers).count;
  const auto crowd = static_cast<double>(std::min(readers, options_.crowd_max));
  const double left = std::max(options_.inter_token.count * crowd - alone, alone / 2);
  const auto chunk = static_cast<int64_t>(std::clamp(left / each, 0.0, 1e9));
  return std::max(chunk / kChunkRound * kChunkRound, options_.chunk_min);
}

std::vector<StepShare> Scheduler::compose(Millis now,
                                          std::span<const ScheduledAnswer> answers) const {
  std::vector<StepShare> shares;
  std::vector<std::pair<Rank, size_t>> readers;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].active) continue;
    if (answers[i].writes()) {
      shares.push_back({i, 1});
    } else {
      readers.emplace_back(rank(now, answers[i]), i);
    }
  }
  const auto writers = static_cast<int64_t>(shares.size());
  int64_t room =
      std::min(options_.step_tokens_max - writers, chunk_beside(writers, std::ssize(readers)));
  std::ranges::sort(readers);
  for (const auto& [rank, i] : readers) {
    if (room <= 0) break;
    const int64_t tokens = std::min(answers[i].runnable(), room);
    shares.push_back({i, tokens});
    room -= tokens;
  }
  return shares;
}

std::optional<size_t> Scheduler::victim(std::span<const ScheduledAnswer> answers) const {
  const auto active = std::ranges::count_if(answers, &ScheduledAnswer::active);
  if (active < 2) return std::nullopt;
  return last_of(answers);
}

void Scheduler::observe(std::span<const ScheduledAnswer> answers, std::span<const StepShare> shares,
                        Millis took) {
  int64_t writers = 0;
  int64_t read = 0;
  for (const StepShare& share : shares) {
    const ScheduledAnswer& answer = answers[share.answer];
    const bool writes = answer.writes();
    ++(writes ? writers : read);
    if (!writes) read += share.tokens - 1;
    const double weight = writes ? options_.generated_weight : 1;
    const auto charged = shares_.find(answer.key);
    if (charged != shares_.end()) {
      charged->second.served += weight * static_cast<double>(share.tokens);
    }
  }
  times_.observe(writers, read, took);
}

}  // namespace ration
