// base/pool.h - one fixed set of threads for compute, made in main and passed as a parameter.
//
// Work is split by worker number, or dealt where results do not depend on who computes what.
// Between runs the workers spin briefly, then sleep in the kernel: an idle pool costs nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace ration {

// CPUs this process may really use: the affinity mask, cut by the cgroup's CPU quota (rounded up).
int usable_cpus();

// The half-open share [begin, end) of `count` items that worker `worker` of `workers` handles, in
// multiples of `step` (the last share takes the rest).
struct Share {
  int64_t begin;
  int64_t end;
};
inline Share share_of(int64_t count, int worker, int workers, int64_t step = 1) {
  const int64_t chunks = (count + step - 1) / step;
  const int64_t begin = chunks * worker / workers * step;
  const int64_t end = chunks * (worker + 1) / workers * step;
  return {begin < count ? begin : count, end < count ? end : count};
}

// Deals [0, count) to the workers of one run: the first half as shares, the rest in small chunks to
// whoever is done, so that a worker whose processor is taken away does not keep the others waiting.
// Who gets what depends on timing; use it where results do not. Chunks are multiples of `step` (but
// the last), and none is smaller than `least`; where that leaves too few of them, all is shares.
class Dealer {
 public:
  Dealer(int64_t count, int workers, int64_t step, int64_t least)
      : count_(count), workers_(workers), step_(step) {
    shared_ = workers == 1 ? count : count / 2 / step * step;
    const int64_t chunk = (count - shared_) / (int64_t{kChunksAWorker} * workers);
    chunk_ = ((chunk > least ? chunk : least) + step - 1) / step * step;
    if (count - shared_ < 2 * chunk_ * workers) shared_ = count;
    next_.store(shared_, std::memory_order_relaxed);
  }

  // Calls work(Share) until nothing is left. Once a worker.
  template <class Work>
  void work(int worker, Work&& work) {
    const Share own = share_of(shared_, worker, workers_, step_);
    if (own.begin < own.end) work(own);
    while (true) {
      const int64_t begin = next_.fetch_add(chunk_, std::memory_order_relaxed);
      if (begin >= count_) return;
      work(Share{begin, begin + chunk_ < count_ ? begin + chunk_ : count_});
    }
  }

 private:
  static constexpr int kChunksAWorker = 8;

  const int64_t count_;
  const int workers_;
  const int64_t step_;
  int64_t shared_ = 0;
  int64_t chunk_ = 0;
  std::atomic<int64_t> next_{0};
};

// One caller at a time (DCHECKed): run() is not reentrant. The caller works as worker 0.
class Pool {
 public:
  // REQUIRES: threads >= 1. threads - 1 are started.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(worker) once for each worker 0 .. threads()-1 and returns when all have returned.
  // The task must not throw. What the caller wrote before is visible to the tasks and the reverse.
  template <class Task>
  void run(Task&& task) {
    using Callable = std::remove_reference_t<Task>;
    run_erased([](void* context, int worker) { (*static_cast<Callable*>(context))(worker); },
               const_cast<void*>(static_cast<const void*>(&task)));
  }

 private:
  using Function = void (*)(void* context, int worker);
  void run_erased(Function function, void* context);
  void work(int worker);

  Function function_ = nullptr;
  void* context_ = nullptr;
  // On lines of their own: workers spin on these.
  alignas(64) std::atomic<uint32_t> epoch_{0};  // one more for each run, and at the end
  alignas(64) std::atomic<uint32_t> unfinished_{0};
  alignas(64) std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::vector<std::jthread> workers_;
};

}  // namespace ration
