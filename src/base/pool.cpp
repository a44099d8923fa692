#include "base/pool.h"

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "base/check.h"

namespace ration {
namespace {

// About 30 us of pauses before sleeping: longer than the gap between two stages of a forward pass,
// far shorter than the gap between two tokens of a stalled client.
constexpr int kSpins = 1500;

// Quota in CPUs of the cgroup this process is in, or 0 when there is none.
double cgroup_quota() {
  std::string path;
  std::ifstream self("/proc/self/cgroup");
  for (std::string line; std::getline(self, line);) {
    if (line.starts_with("0::")) path = line.substr(3);
  }
  for (const std::string& file :
       {"/sys/fs/cgroup" + path + "/cpu.max", std::string("/sys/fs/cgroup/cpu.max")}) {
    std::ifstream in(file);
    double quota = 0;
    double period = 0;
    if (in >> quota >> period && period > 0) return quota / period;  // "max" does not parse
  }
  std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) {
    return quota / period;
  }
  return 0;
}

// Waits until `word` differs from `old`: spins first, then sleeps.
uint32_t await_change(const std::atomic<uint32_t>& word, uint32_t old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    const uint32_t now = word.load(std::memory_order_acquire);
    if (now != old) return now;
    _mm_pause();
  }
  word.wait(old, std::memory_order_acquire);
  return word.load(std::memory_order_acquire);
}

}  // namespace

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = CPU_COUNT(&set);
  const double quota = cgroup_quota();
  if (quota > 0) cpus = std::min(cpus, static_cast<int>(quota + 0.999));
  return std::max(cpus, 1);
}

Pool::Pool(int threads) {
  CHECK(threads >= 1);
  workers_.reserve(static_cast<size_t>(threads) - 1);
  for (int worker = 1; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { work(worker); });
  }
}

Pool::~Pool() {
  stop_.store(true, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
}

void Pool::run_erased(Function function, void* context) {
  if (workers_.empty()) {
    function(context, 0);
    return;
  }
  DCHECK(!running_.exchange(true));
  function_ = function;
  context_ = context;
  unfinished_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  function(context, 0);
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;) {
    left = await_change(unfinished_, left);
  }
  DCHECK(running_.exchange(false));
}

void Pool::work(int worker) {
  uint32_t seen = 0;
  while (true) {
    seen = await_change(epoch_, seen);
    if (stop_.load(std::memory_order_acquire)) return;
    function_(context_, worker);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

}  // namespace ration
