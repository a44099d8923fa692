// serve/model_pool.h - the models that may be served: which of them are in memory, and who waits
// for one. plan/residency.h decides; a thread of the pool's own loads and lets go. Private to
// serve/.
//
// Who answers with a model holds a lease of it, and while anyone does it stays. Nothing is loaded
// that cannot fit beside what is pinned; that is said at once. A load that fails refuses those who
// wait for it, and is not tried again for some seconds.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "plan/plan.h"
#include "serve/api_error.h"
#include "serve/face/face.h"
#include "serve/model_card.h"
#include "serve/serve.h"

namespace ration {

// A model in memory, as those see it who answer with it.
struct PooledModel {
  PooledModel(size_t index_in, const std::vector<std::string>& names,
              std::unique_ptr<LoadedModel> loaded_in);

  const size_t index;
  const std::unique_ptr<LoadedModel> loaded;
  const ChatTraits traits;
  const ServedModel served;
};
using ModelLease = std::shared_ptr<PooledModel>;

struct ModelPoolOptions {
  std::vector<ServeModel> models;  // not empty
  Bytes budget{};
  Bytes helper_budget{};
  Millis cool_down{10'000};  // after a load that failed
};

// For ServerMetrics; called without a lock by threads of the pool's.
struct ModelPoolEvents {
  std::function<void(size_t model, Millis took)> on_loaded;
  std::function<void(size_t model)> on_failed;
  std::function<void(size_t model, std::string_view reason)> on_unloaded;
};

// thread-safe, but for load_first(), start() and stop().
class ModelPool {
 public:
  // What a request for a model comes to.
  struct Ticket {
    ModelLease lease;
    Millis load;  // of the wait for it, what went into loading
  };
  using Reply = std::variant<Ticket, ApiError>;
  struct Waiter {
    uint64_t key = 0;  // for cancel()
    int64_t arrived_ns = 0;
    std::optional<Millis> deadline{};  // since then
    // Called once, by the pool's thread, unless cancel() comes before or the server stops.
    std::function<void(Reply)> then;
  };

  // REQUIRES: what it refers to outlives it, and it outlives its leases.
  ModelPool(ModelPoolOptions options, ModelLoader& loader, const Clock& clock,
            ModelPoolEvents events = {});
  ~ModelPool();  // stops
  ModelPool(const ModelPool&) = delete;
  ModelPool& operator=(const ModelPool&) = delete;

  // Loads the first model on this thread and reads the others' heads. Before start().
  Status load_first();
  // Begins to load what is wanted.
  void start();
  // Refuses who waits and who comes from now on, breaks a load off, and lets nothing go any more.
  void close();
  // Closes, and ends the thread; then no call is under way.
  void stop();

  size_t size() const { return options_.models.size(); }
  const std::vector<std::string>& names(size_t model) const { return options_.models[model].names; }
  const std::string& id(size_t model) const { return names(model).front(); }
  // By any of its names; "" is the first. 404 with the nearest names of all.
  std::variant<size_t, ApiError> find(std::string_view name) const;

  // A lease, or why there will be none; or nothing, and `waiter.then` hears of it.
  std::optional<Reply> acquire(size_t model, Waiter waiter);
  // Nobody waits under this key any more. Unknown keys are ignored.
  void cancel(uint64_t key);
  // How long it stays when it is idle, from now on; infinite: until another wants its room.
  void set_keep_alive(size_t model, Millis span);
  bool is_in(size_t model) const;

  // REQUIRES: load_first() was.
  std::vector<ModelView> views() const;

 private:
  using State = ResidentModel::State;
  struct Entry {
    State state = State::kOut;
    std::unique_ptr<PooledModel> in;
    int64_t leases = 0;
    std::deque<Waiter> waiters;  // in order of arrival
    std::optional<Millis> keep_alive;
    Millis load;
    bool preload = false;
    Millis idle_since;
    Status problem;  // of the last load
    int64_t failed_ns = 0;
  };
  struct Loaded {
    size_t model = 0;
    std::unique_ptr<PooledModel> in{};
    Status problem{};
    Millis took{};
  };
  using Calls = std::vector<std::function<void()>>;

  void work();
  Millis now() const { return to_millis(clock_.now_ns()); }
  std::vector<ResidentModel> describe() const;
  ModelLease lease(size_t model);
  void give_back(size_t model);
  void expire(Calls& calls);
  void admit(Calls& calls);
  std::optional<Millis> next_deadline() const;
  void begin_load(size_t model);
  Loaded bring(size_t model);
  void settle(Loaded done, Calls& calls);
  void unload(const ResidencyMove& move, std::unique_lock<std::mutex>& lock);
  void wait(std::optional<Millis> until, std::unique_lock<std::mutex>& lock);
  static void refuse(std::deque<Waiter>& waiters, const ApiError& error, Calls& calls);

  const ModelPoolOptions options_;
  ModelLoader& loader_;
  const Clock& clock_;
  const ModelPoolEvents events_;
  std::vector<ModelCard> cards_;  // by model, from load_first() on
  std::atomic<bool> closed_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool poked_ = false;          // under the mutex, as all below
  std::vector<Entry> entries_;  // by model
  Residency residency_;
  std::optional<Loaded> done_;  // by the loading thread

  std::thread loading_;  // the pool's thread's
  std::thread thread_;
};

}  // namespace ration
