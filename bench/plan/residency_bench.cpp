// How often each order of eviction makes a server load models, and how long requests wait for it:
// random traces of ten simulated hours over four models of which two or three fit.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/rng.h"
#include "plan/plan.h"

namespace ration {
namespace {

constexpr Millis kHours{10.0 * 3'600'000};
constexpr uint64_t kSeeds = 5;

// A GB loads in a second, and 0.1 s come on top; an answer takes longer where the model is larger.
std::vector<ReplayModel> models() {
  std::vector<ReplayModel> made;
  for (const auto& [name, megabytes] :
       {std::pair{"tiny", 200}, {"small", 800}, {"middle", 1500}, {"large", 3000}}) {
    made.push_back({.name = name,
                    .bytes = Bytes{megabytes * 1'000'000LL},
                    .load = Millis{100.0 + megabytes},
                    .answer = Millis{50.0 + 0.5 * megabytes}});
  }
  return made;
}

struct Traffic {
  std::string_view name;
  std::array<double, 4> chances;  // by model
  double a_second;
};
constexpr std::array kTraffic{
    Traffic{"equal", {0.25, 0.25, 0.25, 0.25}, 0.2},
    Traffic{"mostly small", {0.4, 0.3, 0.2, 0.1}, 0.2},
    Traffic{"mostly large", {0.1, 0.2, 0.3, 0.4}, 0.2},
    Traffic{"equal, busy", {0.25, 0.25, 0.25, 0.25}, 0.7},
};

std::vector<TraceRow> draw(const Traffic& traffic, uint64_t seed) {
  Rng rng(seed);
  const std::vector<ReplayModel> known = models();
  std::vector<TraceRow> trace;
  for (const Millis at : poisson_arrivals(rng, traffic.a_second, kHours)) {
    double left = rng.uniform();
    size_t model = 0;
    while (model + 1 < known.size() && left >= traffic.chances[model]) {
      left -= traffic.chances[model++];
    }
    trace.push_back({.at = at, .prompt = 1, .model = known[model].name});
  }
  return trace;
}

void compare(const Traffic& traffic) {
  constexpr std::array kOrders{std::pair{EvictionOrder::kGreedyDual, "greedy-dual"},
                               std::pair{EvictionOrder::kLruBytes, "LRU by bytes"},
                               std::pair{EvictionOrder::kLruCount, "LRU by count"}};
  for (const auto& [order, name] : kOrders) {
    int64_t loads = 0;
    Millis loading;
    std::vector<Millis> waits;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      const ResidencyReplay replay =
          replay_residency(draw(traffic, seed), models(),
                           {.budget = Bytes{4'600'000'000}, .order = order, .models_max = 2});
      loads += replay.loads;
      loading += replay.loading;
      waits.insert(waits.end(), replay.waits.begin(), replay.waits.end());
    }
    std::ranges::sort(waits);
    const auto at = [&](double share) {
      return waits[static_cast<size_t>(share * static_cast<double>(waits.size() - 1))].count / 1000;
    };
    fmt::print("{:14} {:14} {:7} {:9.0f} {:8.2f} {:8.2f} {:8.2f}\n", traffic.name, name, loads,
               loading.count / 1000, at(0.5), at(0.95), at(0.99));
  }
}

}  // namespace
}  // namespace ration

int main() {
  fmt::print("{:14} {:14} {:>7} {:>9} {:>8} {:>8} {:>8}\n", "traffic", "order", "loads",
             "loading s", "p50 s", "p95 s", "p99 s");
  for (const ration::Traffic& traffic : ration::kTraffic) ration::compare(traffic);
}
