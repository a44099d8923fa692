#include "run/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "run/deal.h"
#include "run/logit_scan.h"
#include "tensor/panel.h"

namespace ration {
namespace {

// Rows that are multiplied whole first: the best of them is close to the best of all.
constexpr int64_t kFirstSeen = 16;
// More than this share of the panels is not worth picking out.
constexpr int64_t kShareSeenMost = 8;
constexpr int64_t kScreenedBytes = 512 * kKiB;  // the least that is worth dealing of a screen

}  // namespace

int64_t VocabularyProduct::panels() const {
  return (network_.vocabulary + kRowsAPanel - 1) / kRowsAPanel;
}

// Bias, scale and softcap, of bounds as of logits: none changes their order.
void VocabularyProduct::finish(float* logits, int64_t begin, int64_t end) const {
  if (network_.output.bias) {
    kernels_.add(logits + begin, network_.output.bias + begin, end - begin);
  }
  if (network_.output_scale != 1) {
    for (int64_t r = begin; r < end; ++r) logits[r] *= network_.output_scale;
  }
  const float cap = network_.output_softcap;
  if (cap <= 0) return;
  for (int64_t r = begin; r < end; ++r) logits[r] = cap * std::tanh(logits[r] / cap);
}

Activations VocabularyProduct::row_of_x(int64_t row) const {
  Activations x = x_;
  x.tokens = 1;
  x.data = x_.row(row);
  return x;
}

void VocabularyProduct::fill(Multiply multiply, const Activations& x, float* logits,
                             int64_t least_bytes) {
  const Matrix& weight = network_.output.weight;
  Dealer dealer(weight.rows, pool_.threads(), kRowsAPanel, least_bytes / weight.row_bytes());
  pool_.run([&](int worker) {
    dealer.work(worker, [&](Share share) {
      multiply(weight, x, share.begin, share.end, logits, network_.vocabulary);
      for (int64_t t = 0; t < x.tokens; ++t) {
        finish(logits + t * network_.vocabulary, share.begin, share.end);
      }
    });
  });
}

void VocabularyProduct::write_all() {
  fill(kernels_.matmul, x_, logits_, kDealtBytes);
  bytes_read_ += Bytes{network_.output.weight.bytes()};
}

void VocabularyProduct::write_best(int64_t best) {
  if (!has_screen(network_)) return write_all();
  const Matrix& weight = network_.output.weight;
  fill(kernels_.screen, x_, logits_, kScreenedBytes);
  bytes_read_ += Bytes{split_places(weight.dtype, weight.rows, weight.cols, 0).lower};
  for (int64_t row = 0; row < x_.tokens; ++row) {
    if (write_best_of(row, best)) continue;
    fill(kernels_.matmul, row_of_x(row), logits_ + row * network_.vocabulary, kDealtBytes);
    count_seen(panels());
  }
}

void VocabularyProduct::count_seen(int64_t panels) {
  panels_seen_ += panels;
  bytes_read_ += Bytes{panels * kRowsAPanel * network_.output.weight.row_bytes()};
}

// Whole products of these panels' rows, in the place of their bounds.
void VocabularyProduct::see(int64_t row, const std::vector<int64_t>& panels) {
  const Matrix& weight = network_.output.weight;
  const Activations x = row_of_x(row);
  float* logits = logits_ + row * network_.vocabulary;
  pool_.run([&](int worker) {
    const Share share = share_of(static_cast<int64_t>(panels.size()), worker, pool_.threads());
    for (int64_t i = share.begin; i < share.end; ++i) {
      const int64_t begin = panels[static_cast<size_t>(i)] * kRowsAPanel;
      const int64_t end = std::min(begin + kRowsAPanel, weight.rows);
      kernels_.matmul(weight, x, begin, end, logits, network_.vocabulary);
      finish(logits, begin, end);
    }
  });
  for (int64_t panel : panels) seen_[static_cast<size_t>(panel)] = true;
  count_seen(static_cast<int64_t>(panels.size()));
}

// False when too much would have to be seen, or a bound is no number.
bool VocabularyProduct::write_best_of(int64_t row, int64_t best) {
  const std::span<float> logits(logits_ + row * network_.vocabulary,
                                static_cast<size_t>(network_.vocabulary));
  if (scan_best(logits).not_a_number >= 0) return false;
  seen_.assign(static_cast<size_t>(panels()), false);
  std::vector<TokenLogit> rows;
  const auto panels_of_rows = [&] {
    std::vector<int64_t> found;
    for (const TokenLogit& entry : rows) {
      const int64_t panel = entry.token / kRowsAPanel;
      if (!seen_[static_cast<size_t>(panel)]) found.push_back(panel);
    }
    std::ranges::sort(found);
    const auto doubles = std::ranges::unique(found);
    found.erase(doubles.begin(), doubles.end());
    return found;
  };
  select_best(logits, static_cast<size_t>(std::max(best, kFirstSeen)), rows);
  see(row, panels_of_rows());
  std::vector<float> known;
  for (int64_t panel = 0; panel < panels(); ++panel) {
    if (!seen_[static_cast<size_t>(panel)]) continue;
    const int64_t end = std::min((panel + 1) * kRowsAPanel, network_.vocabulary);
    known.insert(known.end(), logits.begin() + panel * kRowsAPanel, logits.begin() + end);
  }
  const auto worst = known.begin() + std::min(best, static_cast<int64_t>(known.size())) - 1;
  std::ranges::nth_element(known, worst, std::greater<>());
  if (!std::isfinite(*worst)) return false;
  select_at_least(logits, *worst, rows);
  const std::vector<int64_t> rest = panels_of_rows();
  if (static_cast<int64_t>(rest.size()) > panels() / kShareSeenMost) return false;
  see(row, rest);
  pool_.run([&](int worker) {
    const Share share = share_of(panels(), worker, pool_.threads());
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      if (seen_[static_cast<size_t>(panel)]) continue;
      const int64_t end = std::min((panel + 1) * kRowsAPanel, network_.vocabulary);
      std::fill(logits.begin() + panel * kRowsAPanel, logits.begin() + end, -kInfinity);
    }
  });
  return true;
}

}  // namespace ration
