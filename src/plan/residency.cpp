// Residency by bytes: GreedyDual-Size with frequency, and batches of a model where two take turns.
//
// Source    Cao and Irani 1997, "Cost-Aware WWW Proxy Caching Algorithms", sec. 4
//           (GreedyDual-Size); Cherkasova 1998, "Improving WWW Proxies Performance with
//           Greedy-Dual-Size-Frequency Caching Policy", sec. 3 (the count of uses)
// Computes  credit = inflation + uses x load time / bytes when used; the least credit goes first,
//           and inflation becomes its credit
// Departs   who goes but is not needed to make room stays, the one with most credit first: models
//           are few and large, so that the last victim often frees room enough alone. A model with
//           requests goes only after max(patience, factor x both load times).
// Costs     models x log(models) a move
// Proved    test/plan/residency_test.cpp
#include "plan/residency.h"

#include <fmt/core.h>

#include <algorithm>
#include <tuple>

#include "base/check.h"

namespace ration {
namespace {

using State = ResidentModel::State;

bool busy(const ResidentModel& model) { return model.running > 0 || model.queued > 0; }

std::string list(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

Residency::Residency(ResidencyOptions options, size_t models) : options_(options), known_(models) {
  CHECK(options.models_max >= 1 && options.swap_factor >= 0);
}

Bytes Residency::free(bool helper, std::span<const ResidentModel> models) const {
  Bytes held;
  for (const ResidentModel& model : models) {
    if (model.helper == helper && model.state != State::kOut) held += model.bytes;
  }
  return (helper ? options_.helper_budget : options_.budget) - held;
}

bool Residency::fits(const ResidentModel& model, std::span<const ResidentModel> models, Bytes freed,
                     int64_t gone) const {
  if (model.bytes > free(model.helper, models) + freed) return false;
  if (options_.order != EvictionOrder::kLruCount || model.helper) return true;
  const auto in = std::ranges::count_if(models, [](const ResidentModel& other) {
    return !other.helper && other.state != State::kOut;
  });
  return in - gone < options_.models_max;
}

std::optional<std::vector<size_t>> Residency::victims(size_t wanted,
                                                      std::span<const ResidentModel> models,
                                                      bool busy_too) const {
  std::vector<size_t> order;
  for (size_t i = 0; i < models.size(); ++i) {
    const ResidentModel& model = models[i];
    const bool unserved = model.queued > 0 && known_[i].uses == 0;  // it only just came
    const bool may_go = model.state == State::kIn && !model.pinned && !unserved &&
                        model.helper == models[wanted].helper && (busy_too || !busy(model));
    if (may_go) order.push_back(i);
  }
  std::ranges::sort(order, {}, [&](size_t i) {
    const bool greedy = options_.order == EvictionOrder::kGreedyDual;
    // Who is idle goes before who is busy.
    return std::tuple(busy(models[i]), greedy ? known_[i].credit : known_[i].last_use.count, i);
  });
  std::vector<size_t> gone;
  Bytes freed;
  const auto enough = [&](Bytes bytes, size_t count) {
    return fits(models[wanted], models, bytes, static_cast<int64_t>(count));
  };
  for (const size_t i : order) {
    if (enough(freed, gone.size())) break;
    freed += models[i].bytes;
    gone.push_back(i);
  }
  if (!enough(freed, gone.size())) return std::nullopt;
  for (size_t at = gone.size(); at-- > 0;) {
    if (!enough(freed - models[gone[at]].bytes, gone.size() - 1)) continue;
    freed -= models[gone[at]].bytes;
    gone.erase(gone.begin() + static_cast<int64_t>(at));
  }
  return gone;
}

void Residency::used(size_t model, Millis now, const ResidentModel& as) {
  Known& known = known_[model];
  if (known.uses == 0) known.first_use = now;
  known.last_use = now;
  known.uses += 1;
  const double bytes = std::max(static_cast<double>(as.bytes.count), 1.0);
  known.credit = inflation_ + known.uses * std::max(as.load.count, 1.0) / bytes;
}

ResidencyMove Residency::unload(size_t model, std::string_view reason) {
  Known& known = known_[model];
  if (reason == "room") inflation_ = std::max(inflation_, known.credit);
  known.uses = 0;
  known.drains = false;
  return {.kind = ResidencyMove::Kind::kUnload, .model = model, .reason = reason};
}

ResidencyMove Residency::next_move(Millis now, std::span<const ResidentModel> models) {
  CHECK(models.size() == known_.size());
  std::optional<Millis> wake;
  const auto wake_at = [&](Millis time) { wake = std::min(wake.value_or(time), time); };
  for (size_t i = 0; i < models.size(); ++i) {
    const ResidentModel& model = models[i];
    const bool stays = model.pinned || !model.keep_alive || busy(model);
    if (model.state != State::kIn || stays) continue;
    const Millis end = known_[i].last_use + *model.keep_alive;
    if (now >= end) return unload(i, "idle");
    wake_at(end);
  }
  ResidencyMove move = make_room(now, models);
  if (move.kind != ResidencyMove::Kind::kNone) return move;
  if (move.wake) wake_at(*move.wake);
  move.wake = wake;
  return move;
}

ResidencyMove Residency::make_room(Millis now, std::span<const ResidentModel> models) {
  for (Known& known : known_) known.drains = false;
  const auto loading = std::ranges::count(models, State::kLoading, &ResidentModel::state);
  std::vector<size_t> wanted;  // who waits longest first, then who should be there anyway
  for (size_t i = 0; i < models.size(); ++i) {
    const ResidentModel& model = models[i];
    if (model.state == State::kOut && (model.queued > 0 || model.preload)) wanted.push_back(i);
  }
  std::ranges::sort(wanted, {}, [&](size_t i) {
    const bool waits = models[i].queued > 0;
    return std::tuple(!waits, waits ? models[i].oldest : Millis{}, i);
  });
  std::optional<Millis> wake;
  for (const size_t i : wanted) {
    if (loading > 0) break;  // one after the other
    if (fits(models[i], models, {}, 0)) {
      return {.kind = ResidencyMove::Kind::kLoad, .model = i};
    }
    if (models[i].queued == 0) continue;  // nobody goes for who only should be there
    if (const auto idle = victims(i, models, false)) return unload(idle->front(), "room");
    const auto gone = victims(i, models, true);
    if (!gone) continue;  // check() says why
    Millis both = models[i].load;
    for (const size_t other : *gone) both += models[other].load;
    Millis since = models[i].oldest;
    for (const size_t other : *gone) {
      if (busy(models[other])) since = std::max(since, known_[other].first_use);
    }
    const Millis due = since + std::max(options_.patience, both * options_.swap_factor);
    if (now < due) {
      wake = std::min(wake.value_or(due), due);
      continue;
    }
    // Its turn, and nobody takes the room that becomes free: what was begun ends, then they go.
    for (const size_t other : *gone) {
      if (models[other].running == 0) return unload(other, "room");
      known_[other].drains = true;
    }
    return {};
  }
  return {.wake = wake};
}

Status Residency::check(size_t model, std::span<const ResidentModel> models) const {
  const ResidentModel& wanted = models[model];
  const Bytes budget = wanted.helper ? options_.helper_budget : options_.budget;
  Bytes pinned;
  std::vector<std::string> holders;
  for (size_t i = 0; i < models.size(); ++i) {
    const ResidentModel& other = models[i];
    const bool in_the_way =
        i != model && other.pinned && other.helper == wanted.helper && other.state != State::kOut;
    if (!in_the_way) continue;
    pinned += other.bytes;
    holders.push_back(fmt::format("'{}' ({}, pinned)", other.name, to_text(other.bytes)));
  }
  const Bytes available = budget - pinned;
  if (wanted.bytes <= available) return {};
  std::vector<std::string> fitting;
  for (size_t i = 0; i < models.size(); ++i) {
    const ResidentModel& other = models[i];
    if (i == model || other.helper != wanted.helper || other.bytes > available) continue;
    fitting.push_back(fmt::format("'{}' ({})", other.name, to_text(other.bytes)));
  }
  std::string message = fmt::format("'{}' needs {} of memory, and {} of {} can be had", wanted.name,
                                    to_text(wanted.bytes), to_text(available), to_text(budget));
  if (!holders.empty()) message += "; the rest is held by " + list(holders);
  if (!fitting.empty()) message += "; what would fit: " + list(fitting);
  return Error{Code::kOverBudget, message,
               Shortfall{.wanted = wanted.bytes.count, .available = available.count}};
}

}  // namespace ration
