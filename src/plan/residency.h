// plan/residency.h - which models are in memory: which to load, which must go for it, and whose
// requests wait meanwhile. Private to plan/; plan/plan.h hands it on.
//
// A policy over plain structs: it reads no clock and loads nothing. Its pools are counted in bytes,
// never in models. Where two models take turns and only one fits, requests are served in batches of
// a model: who is busy stays until the other has waited long enough to be worth the loading.
//
//   while (true) {
//     const ResidencyMove move = residency.next_move(now, models);
//     if (move.kind == ResidencyMove::Kind::kNone) break;   // ask again at move.wake at the latest
//     ... load or unload it, and describe the models again ...
//   }
//   ... begin requests of models that are in and open(): residency.used(model, now) for each ...
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unit.h"

namespace ration {

struct ResidentModel {
  enum class State : uint8_t { kOut, kLoading, kIn };
  std::string_view name;
  Bytes bytes;          // what it takes when it is in: weights, tables, buffers, its cache
  Millis load;          // what loading takes; measured the last time, or estimated
  bool pinned = false;  // never goes for another
  bool helper = false;  // lives in the pool of helpers (routers, embedders), apart from the others
  std::optional<Millis> keep_alive = std::nullopt;  // goes when idle for so long; none: stays
  State state = State::kOut;
  int64_t running = 0;   // answers begun
  int64_t queued = 0;    // requests that wait for it to come in, or to open
  Millis oldest = {};    // when the first of them came
  bool preload = false;  // wanted without a request, where there is room for it
};

struct ResidencyMove {
  enum class Kind : uint8_t { kNone, kLoad, kUnload };
  Kind kind = Kind::kNone;
  size_t model = 0;                           // index
  std::string_view reason = {};               // of an unload: "idle" or "room"
  std::optional<Millis> wake = std::nullopt;  // of kNone: when time alone changes the answer
};

enum class EvictionOrder : uint8_t {
  kGreedyDual,  // cheapest to have again for its bytes and uses
  kLruBytes,    // longest unused
  kLruCount,    // longest unused, and no more than so many models at once: what others do
};

struct ResidencyOptions {
  Bytes budget{};         // of the common pool
  Bytes helper_budget{};  // of the helpers' pool
  EvictionOrder order = EvictionOrder::kGreedyDual;
  int64_t models_max = 1;  // kLruCount: so many models in the common pool
  // A busy model goes when it was there, and the other has waited, for so long and for this many
  // times what loading both of them takes: so at most about a third of the time goes into loading.
  Millis patience{2'000};
  double swap_factor = 2;
};

// single-thread. Models are known by their index, which stays.
class Residency {
 public:
  Residency(ResidencyOptions options, size_t models);

  // The next thing to do. Asked again after each, with fresh numbers. One model loads at a time.
  ResidencyMove next_move(Millis now, std::span<const ResidentModel> models);

  // False while the model finishes what was begun, to go for another: nothing new begins.
  bool open(size_t model) const { return !known_[model].drains; }

  // A request of the model begins.
  void used(size_t model, Millis now, const ResidentModel& as);
  // An answer of the model has ended, or the model has come in: its idle time begins.
  void ended(size_t model, Millis now) { known_[model].last_use = now; }

  // Whether the model can be had at all, however long one waits. kOverBudget says what it needs,
  // what is free, what holds the rest, and which models would fit.
  Status check(size_t model, std::span<const ResidentModel> models) const;

  // Bytes of the model's pool that nobody holds.
  Bytes free(bool helper, std::span<const ResidentModel> models) const;

 private:
  struct Known {
    double credit = 0;   // who has least goes first
    double uses = 0;     // since it came in
    Millis first_use{};  // since it came in
    Millis last_use{-1e18};
    bool drains = false;
  };

  bool fits(const ResidentModel& model, std::span<const ResidentModel> models, Bytes freed,
            int64_t gone) const;
  // Who goes so that the model fits, least credit first; nothing when that is not enough.
  std::optional<std::vector<size_t>> victims(size_t model, std::span<const ResidentModel> models,
                                             bool busy_too) const;
  ResidencyMove unload(size_t model, std::string_view reason);
  ResidencyMove make_room(Millis now, std::span<const ResidentModel> models);

  const ResidencyOptions options_;
  std::vector<Known> known_;
  double inflation_ = 0;  // the credit of who went last: what is in must keep up with it
};

}  // namespace ration
