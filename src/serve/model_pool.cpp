#include "serve/model_pool.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace ration {
namespace {

constexpr Millis kLookAgain{60'000};

int whole_seconds(Millis span) {
  return std::max(1, static_cast<int>(std::ceil(span.count / 1000)));
}

ApiError load_error(const std::string& id, const Error& error, Millis retry) {
  if (error.code == Code::kCancelled) return stopping_error();
  return {.status = 503,
          .type = "unavailable_error",
          .code = error.code == Code::kOverBudget ? "insufficient_memory" : "load_failed",
          .message = fmt::format("'{}' could not be loaded: {}", id, error.message),
          .param = "model",
          .bytes = error.shortfall,
          .retry_after_seconds = whole_seconds(retry)};
}

// What never will fit.
ApiError room_error(const Error& error) {
  return {.status = 503,
          .type = "unavailable_error",
          .code = "insufficient_memory",
          .message = error.message,
          .param = "model",
          .bytes = error.shortfall};
}

ApiError late_error(const std::string& id, Millis deadline) {
  return {.status = 504,
          .type = "unavailable_error",
          .code = "deadline_exceeded",
          .message = fmt::format("the deadline of {:.0f} ms passed while '{}' was awaited",
                                 deadline.count, id),
          .param = "ration.max_ms"};
}

}  // namespace

PooledModel::PooledModel(size_t index_in, const std::vector<std::string>& names,
                         std::unique_ptr<LoadedModel> loaded_in)
    : index(index_in),
      loaded(std::move(loaded_in)),
      traits(chat_traits(loaded->model())),
      served{.model = loaded->model(),
             .traits = traits,
             .names = names,
             .context = loaded->engine().options().context} {}

ModelPool::ModelPool(ModelPoolOptions options, ModelLoader& loader, const Clock& clock,
                     ModelPoolEvents events)
    : options_(std::move(options)),
      loader_(loader),
      clock_(clock),
      events_(std::move(events)),
      entries_(options_.models.size()),
      residency_({.budget = options_.budget, .helper_budget = options_.helper_budget},
                 options_.models.size()) {
  CHECK(!options_.models.empty());
  for (size_t i = 0; i < entries_.size(); ++i) {
    entries_[i].keep_alive = options_.models[i].keep_alive;
    entries_[i].load = options_.models[i].load;
    entries_[i].preload = options_.models[i].preload;
  }
}

ModelPool::~ModelPool() {
  stop();
  for (const Entry& entry : entries_) CHECK(entry.leases == 0);
}

// -------------------------------------------------------------------------------- from any thread

Status ModelPool::load_first() {
  Calls calls;
  {
    const std::lock_guard lock(mutex_);
    if (Status fits = residency_.check(0, describe()); !fits) return fits;
  }
  Loaded loaded = bring(0);
  {
    const std::lock_guard lock(mutex_);
    settle(std::move(loaded), calls);
    const Entry& first = entries_.front();
    if (!first.in) return first.problem;
    const Model& model = first.in->loaded->model();
    if (size() == 1 && !model.chat_template() && !model.network().sees_later) {
      return Error{Code::kUnsupported, fmt::format("{} cannot be served for chat: {}", model.name(),
                                                   model.template_problem())};
    }
    cards_.push_back(make_card(options_.models[0].names, model.file(), model.network()));
  }
  for (size_t i = 1; i < size(); ++i) {
    Result<ModelCard> card = read_card(options_.models[i].names, options_.models[i].file);
    if (!card) return card.error();
    cards_.push_back(std::move(*card));
  }
  return {};
}

void ModelPool::start() {
  thread_ = std::thread([this] { work(); });
}

void ModelPool::close() {
  Calls calls;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    for (Entry& entry : entries_) refuse(entry.waiters, stopping_error(), calls);
  }
  changed_.notify_one();
  for (const auto& call : calls) call();
}

void ModelPool::stop() {
  close();
  if (thread_.joinable()) thread_.join();
}

std::variant<size_t, ApiError> ModelPool::find(std::string_view name) const {
  if (name.empty()) return size_t{0};
  return find_model(name, size(), [this](size_t model) -> auto& { return names(model); });
}

std::optional<ModelPool::Reply> ModelPool::acquire(size_t model, Waiter waiter) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return stopping_error();
    Entry& entry = entries_[model];
    if (entry.in && residency_.open(model)) return Ticket{.lease = lease(model)};
    if (!entry.problem) {
      const Millis left = options_.cool_down - clock_.since(entry.failed_ns);
      if (left > Millis{0}) return load_error(id(model), entry.problem.error(), left);
    }
    if (Status fits = residency_.check(model, describe()); !fits) return room_error(fits.error());
    entry.waiters.push_back(std::move(waiter));
    poked_ = true;
  }
  changed_.notify_one();
  return std::nullopt;
}

void ModelPool::cancel(uint64_t key) {
  Waiter gone;  // let go without the lock
  {
    const std::lock_guard lock(mutex_);
    for (Entry& entry : entries_) {
      const auto found = std::ranges::find(entry.waiters, key, &Waiter::key);
      if (found == entry.waiters.end()) continue;
      gone = std::move(*found);
      entry.waiters.erase(found);
      poked_ = true;  // another may have made room for it
      break;
    }
  }
  changed_.notify_one();
}

void ModelPool::set_keep_alive(size_t model, Millis span) {
  {
    const std::lock_guard lock(mutex_);
    entries_[model].keep_alive =
        std::isinf(span.count) ? std::optional<Millis>() : std::optional(span);
    poked_ = true;
  }
  changed_.notify_one();
}

bool ModelPool::is_in(size_t model) const {
  const std::lock_guard lock(mutex_);
  return entries_[model].in != nullptr;
}

std::vector<ModelView> ModelPool::views() const {
  const std::lock_guard lock(mutex_);
  std::vector<ModelView> views;
  for (size_t i = 0; i < size(); ++i) {
    const Entry& entry = entries_[i];
    ModelView view{.card = cards_[i],
                   .status = entry.in                         ? "loaded"
                             : entry.state == State::kLoading ? "loading"
                                                              : "unloaded",
                   .bytes = options_.models[i].bytes};
    if (entry.in) {
      view.context = entry.in->served.context;
      if (entry.keep_alive && !options_.models[i].pinned) {
        const Millis left =
            entry.leases > 0 ? *entry.keep_alive : entry.idle_since + *entry.keep_alive - now();
        view.expires_in = static_cast<int64_t>(std::max(0.0, left.count / 1000));
      }
    }
    views.push_back(view);
  }
  return views;
}

ModelLease ModelPool::lease(size_t model) {
  Entry& entry = entries_[model];
  residency_.used(model, now(), describe()[model]);
  ++entry.leases;
  return {entry.in.get(), [this, model](PooledModel*) { give_back(model); }};
}

void ModelPool::give_back(size_t model) {
  {
    const std::lock_guard lock(mutex_);
    --entries_[model].leases;
    entries_[model].idle_since = now();
    residency_.ended(model, now());
    poked_ = true;
  }
  changed_.notify_one();
}

// ------------------------------------------------------------------------------ the pool's thread

std::vector<ResidentModel> ModelPool::describe() const {
  std::vector<ResidentModel> models;
  for (size_t i = 0; i < size(); ++i) {
    const ServeModel& given = options_.models[i];
    const Entry& entry = entries_[i];
    ResidentModel model{.name = given.names.front(),
                        .bytes = given.bytes,
                        .load = entry.load,
                        .pinned = given.pinned,
                        .helper = given.helper,
                        .keep_alive = entry.keep_alive,
                        .state = entry.state,
                        .running = entry.leases,
                        .queued = std::ssize(entry.waiters),
                        .preload = entry.preload};
    if (model.queued > 0) model.oldest = to_millis(entry.waiters.front().arrived_ns);
    models.push_back(model);
  }
  return models;
}

void ModelPool::work() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    poked_ = false;
    Calls calls;
    if (done_) {
      loading_.join();
      settle(*std::exchange(done_, std::nullopt), calls);
    }
    expire(calls);
    const ResidencyMove move = residency_.next_move(now(), describe());
    if (move.kind == ResidencyMove::Kind::kUnload) {
      unload(move, lock);
    } else {
      admit(calls);
      if (calls.empty() && move.kind == ResidencyMove::Kind::kLoad) begin_load(move.model);
      if (calls.empty()) wait(move.wake, lock);
    }
    lock.unlock();
    for (const auto& call : calls) call();
    calls.clear();  // leases among them go without the lock
    lock.lock();
  }
  lock.unlock();
  if (loading_.joinable()) loading_.join();
}

void ModelPool::refuse(std::deque<Waiter>& waiters, const ApiError& error, Calls& calls) {
  for (Waiter& waiter : std::exchange(waiters, {})) {
    calls.push_back([then = std::move(waiter.then), error] { then(error); });
  }
}

// Whose deadline has passed.
void ModelPool::expire(Calls& calls) {
  for (size_t i = 0; i < size(); ++i) {
    std::deque<Waiter> late;
    std::erase_if(entries_[i].waiters, [&](Waiter& waiter) {
      if (!waiter.deadline || clock_.since(waiter.arrived_ns) < *waiter.deadline) return false;
      late.push_back(std::move(waiter));
      return true;
    });
    for (Waiter& waiter : late) {
      calls.push_back([then = std::move(waiter.then), error = late_error(id(i), *waiter.deadline)] {
        then(error);
      });
    }
  }
}

// Who waited for a model that is in and open.
void ModelPool::admit(Calls& calls) {
  for (size_t i = 0; i < size(); ++i) {
    Entry& entry = entries_[i];
    if (!entry.in || !residency_.open(i)) continue;
    for (Waiter& waiter : std::exchange(entry.waiters, {})) {
      const Millis waited = clock_.since(waiter.arrived_ns);
      Ticket ticket{.lease = lease(i), .load = std::min(entry.load, waited)};
      calls.push_back(
          [then = std::move(waiter.then), ticket = std::move(ticket)] { then(ticket); });
    }
  }
}

std::optional<Millis> ModelPool::next_deadline() const {
  std::optional<Millis> next;
  for (const Entry& entry : entries_) {
    for (const Waiter& waiter : entry.waiters) {
      if (!waiter.deadline) continue;
      const Millis end = to_millis(waiter.arrived_ns) + *waiter.deadline;
      next = std::min(next.value_or(end), end);
    }
  }
  return next;
}

void ModelPool::wait(std::optional<Millis> until, std::unique_lock<std::mutex>& lock) {
  const auto wanted = [&] { return poked_ || closed_; };
  if (const std::optional<Millis> late = next_deadline())
    until = std::min(until.value_or(*late), *late);
  if (!until) return changed_.wait(lock, wanted);
  // A little later rather than a little earlier; who waits long looks again meanwhile.
  const Millis span = std::clamp(*until - now(), Millis{0}, kLookAgain) + Millis{1};
  changed_.wait_for(lock, std::chrono::duration<double, std::milli>(span.count), wanted);
}

// On a thread of its own, so that deadlines are kept meanwhile.
void ModelPool::begin_load(size_t model) {
  entries_[model].state = State::kLoading;
  entries_[model].preload = false;
  loading_ = std::thread([this, model] {
    Loaded loaded = bring(model);
    {
      const std::lock_guard lock(mutex_);
      done_ = std::move(loaded);
      poked_ = true;
    }
    changed_.notify_one();
  });
}

ModelPool::Loaded ModelPool::bring(size_t model) {
  const int64_t start_ns = clock_.now_ns();
  Loaded done{.model = model};
  Result<std::unique_ptr<LoadedModel>> loaded = loader_.load(model, closed_);
  if (loaded) {
    done.in =
        std::make_unique<PooledModel>(model, options_.models[model].names, std::move(*loaded));
  } else {
    done.problem = loaded.error();
  }
  done.took = clock_.since(start_ns);
  if (done.in && events_.on_loaded) events_.on_loaded(model, done.took);
  if (!done.in && !closed_ && events_.on_failed) events_.on_failed(model);
  return done;
}

void ModelPool::settle(Loaded done, Calls& calls) {
  Entry& entry = entries_[done.model];
  entry.preload = false;
  entry.problem = done.problem;
  if (done.in) {
    entry.in = std::move(done.in);
    entry.state = State::kIn;
    entry.load = done.took;
    entry.idle_since = now();
    residency_.ended(done.model, now());
    return;
  }
  entry.state = State::kOut;
  entry.failed_ns = clock_.now_ns();
  refuse(entry.waiters, load_error(id(done.model), done.problem.error(), options_.cool_down),
         calls);
}

void ModelPool::unload(const ResidencyMove& move, std::unique_lock<std::mutex>& lock) {
  Entry& entry = entries_[move.model];
  CHECK(entry.leases == 0);
  std::unique_ptr<PooledModel> gone = std::move(entry.in);
  lock.unlock();
  gone.reset();
  if (events_.on_unloaded) events_.on_unloaded(move.model, move.reason);
  lock.lock();
  entry.state = State::kOut;
}

}  // namespace ration
