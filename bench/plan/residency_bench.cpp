// How often each order of eviction makes a server load models, and how long requests wait for it:
// random traces of ten simulated hours over four models of which two or three fit. Or the loads of
// a trace that was recorded (sim/trace.h), as JSON:
//
//   residency_bench TRACE POOL_BYTES MODELS_MAX NAME:BYTES:LOAD_MS:ANSWER_MS...
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "base/file.h"
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

constexpr std::array kOrders{std::pair{EvictionOrder::kGreedyDual, "greedy-dual"},
                             std::pair{EvictionOrder::kLruBytes, "LRU by bytes"},
                             std::pair{EvictionOrder::kLruCount, "LRU by count"}};

void compare(const Traffic& traffic) {
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

int replay_recorded(int argc, char** argv) {
  const Result<std::string> text = read_file(argv[1], Bytes{64 * kMiB});
  const Result<std::vector<TraceRow>> trace = text ? parse_trace(*text) : text.error();
  if (!trace) {
    fmt::print(stderr, "{}: {}\n", argv[1], trace.error().message);
    return 1;
  }
  std::vector<ReplayModel> known;
  for (int i = 4; i < argc; ++i) {
    std::istringstream fields(argv[i]);
    ReplayModel model;
    std::string bytes, load, answer;
    std::getline(fields, model.name, ':');
    std::getline(fields, bytes, ':');
    std::getline(fields, load, ':');
    std::getline(fields, answer, ':');
    model.bytes = Bytes{std::atoll(bytes.c_str())};
    model.load = Millis{std::atof(load.c_str())};
    model.answer = Millis{std::atof(answer.c_str())};
    known.push_back(std::move(model));
  }
  std::string out;
  for (const auto& [order, name] : kOrders) {
    const ResidencyReplay replay = replay_residency(
        *trace, known,
        {.budget = Bytes{std::atoll(argv[2])}, .order = order, .models_max = std::atoll(argv[3])});
    out += fmt::format("{}\"{}\":{}", out.empty() ? "" : ",", name, replay.loads);
  }
  fmt::print("{{{}}}\n", out);
  return 0;
}

}  // namespace
}  // namespace ration

int main(int argc, char** argv) {
  if (argc > 4) return ration::replay_recorded(argc, argv);
  fmt::print("{:14} {:14} {:>7} {:>9} {:>8} {:>8} {:>8}\n", "traffic", "order", "loads",
             "loading s", "p50 s", "p95 s", "p99 s");
  for (const ration::Traffic& traffic : ration::kTraffic) ration::compare(traffic);
}
