// The machine's own limits, as loops of the kernel set reach them.
//
// Source    McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers"
//           (STREAM), 1995; Williams et al., "Roofline", 2009.
// Computes  reading: bytes / time of the fastest pass over a buffer that no cache holds;
//           multiplying: operations / time of the fastest pass out of registers and L1
// Departs   reads only, as products do: no copy, no triad; several runs of addresses a thread,
//           each fetched ahead, because one alone leaves memory half idle
// Costs     about 0.2 s each and the buffer, which is charged and given back
// Proved    test/measure/roofs_test.cpp, test/tensor/probe_test.cpp
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "measure/measure.h"

namespace ration {
namespace {

constexpr Millis kSpan{150};  // of passes, beside filling the buffer
constexpr int kPassesMin = 3;
constexpr int64_t kMultiplyRounds = kProbeRoundsMax;  // milliseconds: long beside starting threads
constexpr Bytes kSetMost{256 * kMiB};
constexpr Bytes kSetLeast{4 * kMiB};
constexpr int kCachesBeyond = 8;  // a set this many times the cache is read from memory

// Seconds of the fastest pass.
template <class Pass>
double fastest(const Clock& clock, const Pass& pass) {
  const int64_t start_ns = clock.now_ns();
  int64_t least_ns = 0;
  for (int passes = 0; passes < kPassesMin || clock.since(start_ns) < kSpan; ++passes) {
    const int64_t begin_ns = clock.now_ns();
    pass();
    const int64_t span_ns = clock.now_ns() - begin_ns;
    if (passes == 0 || span_ns < least_ns) least_ns = span_ns;
    if (span_ns <= 0) break;  // a clock that stands still would never end this
  }
  return static_cast<double>(least_ns) * 1e-9;
}

double rate(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

double multiply_rate(const Probes& probes, Pool& pool, const Clock& clock) {
  const double seconds =
      fastest(clock, [&] { pool.run([&](int) { probes.multiply(kMultiplyRounds); }); });
  const int64_t operations = kMultiplyRounds * probes.operations_a_round * pool.threads();
  return rate(static_cast<double>(operations), seconds);
}

double read_rate(const Probes& probes, Pool& pool, const Clock& clock, Bytes set) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(set.count));
  const auto share_of_worker = [&](int worker) {
    return share_of(set.count, worker, pool.threads(), 4096);
  };
  pool.run([&](int worker) {  // pages never written to are all one page, and that one in the cache
    const Share share = share_of_worker(worker);
    std::memset(buffer.get() + share.begin, worker + 1,
                static_cast<size_t>(share.end - share.begin));
  });
  const double seconds = fastest(clock, [&] {
    pool.run([&](int worker) {
      const Share share = share_of_worker(worker);
      probes.read(buffer.get() + share.begin, share.end - share.begin);
    });
  });
  return rate(static_cast<double>(set.count), seconds);
}

}  // namespace

Roofs measure_roofs(const Kernels& kernels, Pool& pool, const Clock& clock, Budget& budget,
                    const Machine& machine) {
  Roofs roofs;
  roofs.multiply_per_second = multiply_rate(kernels.probes, pool, clock);
  const Bytes beyond{machine.l3_bytes.value_or(kSetMost).count * kCachesBeyond};
  const Bytes wanted = std::min(beyond, kSetMost);
  const Bytes set{std::min(wanted, budget.available()).count / 4096 * 4096};
  if (set < kSetLeast) {
    roofs.remark = fmt::format("no memory to measure reading with: found {}, wanted {}",
                               to_text(std::max(set, Bytes{0})), to_text(wanted));
    return roofs;
  }
  const Result<Charge> charge = budget.reserve(Tag::kScratch, set);
  if (!charge) {
    roofs.remark = charge.error().message;
    return roofs;
  }
  roofs.read_set = set;
  roofs.read_per_second = read_rate(kernels.probes, pool, clock, set);
  if (set < beyond) {
    roofs.remark = fmt::format("read from {} where {} are wanted: in part the cache's speed",
                               to_text(set), to_text(beyond));
  }
  return roofs;
}

void append_json(std::string& out, const Roofs& roofs) {
  out += fmt::format(
      "{{\"read_gigabytes_per_second\":{},\"read_set_bytes\":{}"
      ",\"int8_gigaops_per_second\":{:.4g},\"remark\":",
      roofs.read_per_second ? fmt::format("{:.4g}", *roofs.read_per_second * 1e-9) : "null",
      roofs.read_set.count, roofs.multiply_per_second * 1e-9);
  append_json_string(out, roofs.remark);
  out += "}";
}

}  // namespace ration
