#include "plan/replay_residency.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "base/check.h"
#include "sim/event_loop.h"

namespace ration {
namespace {

// Stands for the server's loader and engine.
class SimulatedPool {
 public:
  SimulatedPool(std::span<const TraceRow> trace, std::span<const ReplayModel> models,
                const ResidencyOptions& options)
      : trace_(trace), given_(models), policy_(options, models.size()), queues_(models.size()) {
    for (const ReplayModel& model : models) {
      models_.push_back({.name = model.name,
                         .bytes = model.bytes,
                         .load = model.load,
                         .pinned = model.pinned,
                         .keep_alive = model.keep_alive});
    }
  }

  ResidencyReplay run() {
    for (const TraceRow& row : trace_) {
      const auto found = std::ranges::find(given_, row.model, &ReplayModel::name);
      CHECK(found != given_.end(), row.model);
      const auto model = static_cast<size_t>(found - given_.begin());
      loop_.at(row.at, [this, model] {
        queues_[model].push_back(loop_.now());
        pump();
      });
    }
    loop_.run();
    for (const auto& queue : queues_) CHECK(queue.empty());
    result_.end = loop_.now();
    return std::move(result_);
  }

 private:
  struct Begun {
    size_t model;
    Millis arrived;
  };

  void describe() {
    for (size_t i = 0; i < models_.size(); ++i) {
      models_[i].queued = std::ssize(queues_[i]);
      if (!queues_[i].empty()) models_[i].oldest = queues_[i].front();
    }
  }

  void pump() {
    while (true) {
      describe();
      const ResidencyMove move = policy_.next_move(loop_.now(), models_);
      if (move.kind == ResidencyMove::Kind::kNone) {
        if (move.wake) wake_at(*move.wake);
        break;
      }
      if (move.kind == ResidencyMove::Kind::kLoad) {
        load(move.model);
      } else {
        CHECK(models_[move.model].running == 0);
        models_[move.model].state = ResidentModel::State::kOut;
        ++result_.unloads;
      }
    }
    for (size_t i = 0; i < models_.size(); ++i) {
      if (models_[i].state != ResidentModel::State::kIn || !policy_.open(i)) continue;
      for (const Millis arrived : std::exchange(queues_[i], {})) {
        policy_.used(i, loop_.now(), models_[i]);
        ++models_[i].running;
        begun_.push_back({i, arrived});
      }
    }
    serve();
  }

  // One timer is enough: who comes earlier asks again.
  void wake_at(Millis time) {
    if (timer_ && *timer_ <= time && *timer_ > loop_.now()) return;
    timer_ = time;
    loop_.at(time, [this] { pump(); });
  }

  void load(size_t model) {
    models_[model].state = ResidentModel::State::kLoading;
    ++result_.loads;
    result_.loading += models_[model].load;
    Bytes held;
    for (const ResidentModel& other : models_) {
      if (other.state != ResidentModel::State::kOut) held += other.bytes;
    }
    result_.peak = std::max(result_.peak, held);
    loop_.after(models_[model].load, [this, model] {
      models_[model].state = ResidentModel::State::kIn;
      policy_.ended(model, loop_.now());
      pump();
    });
  }

  void serve() {
    if (serving_ || begun_.empty()) return;
    serving_ = true;
    const Begun next = begun_.front();
    begun_.pop_front();
    result_.waits.push_back(loop_.now() - next.arrived);
    loop_.after(given_[next.model].answer, [this, next] {
      serving_ = false;
      --models_[next.model].running;
      policy_.ended(next.model, loop_.now());
      ++result_.answers;
      pump();
    });
  }

  const std::span<const TraceRow> trace_;
  const std::span<const ReplayModel> given_;
  EventLoop loop_;
  Residency policy_;
  std::vector<ResidentModel> models_;
  std::vector<std::deque<Millis>> queues_;  // arrivals, by model
  std::deque<Begun> begun_;
  bool serving_ = false;
  std::optional<Millis> timer_;
  ResidencyReplay result_;
};

}  // namespace

ResidencyReplay replay_residency(std::span<const TraceRow> trace,
                                 std::span<const ReplayModel> models,
                                 const ResidencyOptions& options) {
  return SimulatedPool(trace, models, options).run();
}

}  // namespace ration
