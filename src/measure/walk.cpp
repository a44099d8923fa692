// Which way of walking panels is fastest on this machine.
//
// Source    the idea of tuning by measuring: Whaley and Dongarra, "Automatically Tuned Linear
//           Algebra Software", 1998
// Computes  rounds, in each of which every candidate reads the same bytes once, in turns who goes
//           first; per candidate the ratios usual time / its time of the rounds; the candidate with
//           the best median ratio, when its lower quartile says "faster", too
// Departs   pairs within a round, as a shared machine's speed drifts by more than walks differ
// Costs     the span that is given; a vector of activations and one of results
// Proved    test/measure/walk_test.cpp
#include <algorithm>
#include <array>
#include <memory>

#include "measure/measure.h"

namespace ration {
namespace {

constexpr std::array kCandidates{Walk{},
                                 Walk{1024, 1},
                                 Walk{2304, 1},
                                 Walk{4096, 1},
                                 Walk{6912, 1},
                                 Walk{1024, kWalkPanelsMost},
                                 Walk{2304, kWalkPanelsMost}};
constexpr size_t kRoundsMin = 5;
constexpr size_t kRoundsMax = 64;
constexpr double kWorthwhile = 1.02;  // the median; less is not worth remembering
constexpr double kSurely = 1.005;     // the lower quartile

// One token's products with the first matrices, kWalkPass of bytes or a little more.
class Trial {
 public:
  Trial(const Kernels& kernels, Pool& pool, std::span<const Matrix> matrices)
      : kernels_(kernels), pool_(pool), matrices_(matrices) {
    int64_t cols = 0, rows = 0;
    for (const Matrix& matrix : matrices) {
      cols = std::max(cols, matrix.cols);
      rows = std::max(rows, matrix.rows);
    }
    numbers_.assign(static_cast<size_t>(cols), 1.0f);
    out_.resize(static_cast<size_t>(rows));
    format_ = kernels.format_of(matrices.front().dtype);
    // One more line to find an aligned start in.
    activations_.resize(static_cast<size_t>(activation_row_bytes(format_, cols) + 64));
  }

  // Returns the bytes read.
  int64_t run(const Walk& walk) {
    int64_t bytes = 0;
    for (Matrix matrix : matrices_) {
      if (bytes >= kWalkPass.count) break;
      matrix.walk = walk;
      multiply(matrix);
      bytes += matrix.bytes();
    }
    return bytes;
  }

 private:
  void multiply(const Matrix& matrix) {
    void* at = activations_.data();
    size_t room = activations_.size();
    const auto bytes = static_cast<size_t>(activation_row_bytes(format_, matrix.cols));
    auto* row = static_cast<std::byte*>(std::align(64, bytes, at, room));
    kernels_.quantize(format_, numbers_.data(), matrix.cols, row);
    const Activations x{.format = format_,
                        .tokens = 1,
                        .cols = matrix.cols,
                        .data = row,
                        .row_bytes = static_cast<int64_t>(bytes)};
    pool_.run([&](int worker) {
      const Share share =
          share_of(matrix.rows, worker, pool_.threads(), kWalkPanelsMost * kRowsAPanel);
      if (share.begin == share.end) return;
      kernels_.matmul(matrix, x, share.begin, share.end, out_.data(), matrix.rows);
    });
  }

  const Kernels& kernels_;
  Pool& pool_;
  const std::span<const Matrix> matrices_;
  ActivationFormat format_;
  std::vector<float> numbers_, out_;
  std::vector<std::byte> activations_;
};

double quantile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

// ns[candidate][round]
WalkChoice choose(const std::array<std::vector<double>, kCandidates.size()>& ns, double bytes) {
  const auto rate = [&](size_t candidate) { return bytes / quantile(ns[candidate], 0.5) * 1e9; };
  WalkChoice choice{.per_second = rate(0), .usual_per_second = rate(0)};
  double best = kWorthwhile;
  for (size_t c = 1; c < kCandidates.size(); ++c) {
    std::vector<double> ratios;
    for (size_t r = 0; r < ns[c].size(); ++r) ratios.push_back(ns[0][r] / ns[c][r]);
    const double median = quantile(ratios, 0.5);
    if (median < best || quantile(ratios, 0.25) < kSurely) continue;
    best = median;
    choice.walk = kCandidates[c];
    choice.per_second = rate(c);
  }
  return choice;
}

}  // namespace

WalkChoice measure_walk(const Kernels& kernels, Pool& pool, const Clock& clock,
                        std::span<const Matrix> matrices, Millis span) {
  Trial trial(kernels, pool, matrices);
  trial.run({});  // the pages are here from now on
  std::array<std::vector<double>, kCandidates.size()> ns;
  double bytes = 0;
  const int64_t start_ns = clock.now_ns();
  for (size_t round = 0; round < kRoundsMax; ++round) {
    std::array<double, kCandidates.size()> spans{};
    for (size_t i = 0; i < kCandidates.size(); ++i) {
      const size_t c = round % 2 == 0 ? i : kCandidates.size() - 1 - i;
      const int64_t begin_ns = clock.now_ns();
      if (to_millis(begin_ns - start_ns) >= span) {
        return round < kRoundsMin ? WalkChoice{} : choose(ns, bytes);
      }
      bytes = static_cast<double>(trial.run(kCandidates[c]));
      spans[c] = static_cast<double>(clock.now_ns() - begin_ns);
    }
    for (size_t c = 0; c < spans.size(); ++c) ns[c].push_back(spans[c]);
  }
  return choose(ns, bytes);
}

}  // namespace ration
