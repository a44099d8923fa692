#include "model/deep.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/kernels.h"

namespace ration {
namespace {

constexpr int64_t kColumns = 256;
constexpr int64_t kSampledRows = 16;
constexpr int64_t kSampledParts = 4;  // experts of a stage

// Of SmolLM2 135M, Gemma 3 270M and Qwen2.5 Coder 0.5B and 1.5B the means are 0.008 and 0.05; these
// keep a few value and query projections exact, which are small.
constexpr double kRowsMost = 0.02;
constexpr double kColumnMost = 0.15;

// Squares by column, of a matrix's weights and of what rounding does to them.
struct Squares {
  std::vector<float> weights, errors;
};

// To nearest, for magnitudes that F32 has half numbers of.
float rounded(float x) {
  constexpr float kShift = 0x1.8p23f;
  return x + kShift - kShift;
}

void add_row(const std::vector<float>& row, Squares& squares) {
  for (size_t first = 0; first < row.size(); first += kColumns) {
    const size_t end = std::min(first + kColumns, row.size());
    float largest = 0;
    for (size_t c = first; c < end; ++c) largest = std::max(largest, std::fabs(row[c]));
    const float inverse = largest > 0 ? 127 / largest : 0, step = largest / 127;
    for (size_t c = first; c < end; ++c) {
      const float error = row[c] - rounded(row[c] * inverse) * step;
      squares.weights[c] += row[c] * row[c];
      squares.errors[c] += error * error;
    }
  }
}

}  // namespace

DeepError deep_error(const Matrix& matrix) {
  std::vector<float> row(static_cast<size_t>(matrix.cols));
  Squares squares{std::vector<float>(row.size()), std::vector<float>(row.size())};
  // Every other row of the first panel and of the one in the middle: that reads two panels.
  const int64_t middle = matrix.rows / 2 / kRowsAPanel * kRowsAPanel;
  for (int64_t i = 0; i < kSampledRows; ++i) {
    const int64_t r = (i % 2 == 0 ? 0 : middle) + i / 2 * 2;
    if (r >= matrix.rows) continue;
    dequantize_row(matrix, r, row.data());
    add_row(row, squares);
  }
  DeepError error;
  double weights = 0, errors = 0;
  for (size_t c = 0; c < row.size(); ++c) {
    const auto weight = static_cast<double>(squares.weights[c]);
    const auto off = static_cast<double>(squares.errors[c]);
    weights += weight;
    errors += off;
    if (weight > 0) error.column = std::max(error.column, std::sqrt(off / weight));
  }
  error.rows = weights > 0 ? std::sqrt(errors / weights) : 0;
  return error;
}

int mark_deep(Network& network) {
  int exact = 0;
  // A matrix, or as many of them above each other.
  const auto mark = [&](Matrix& matrix, int64_t parts = 1) {
    if (matrix.empty() || !has_panels(matrix.dtype)) return;
    const int64_t rows = matrix.rows / parts;
    matrix.deep = true;
    for (int64_t i = 0; matrix.deep && i < std::min(parts, kSampledParts); ++i) {
      const int64_t part = i * parts / kSampledParts;
      const DeepError error = deep_error(matrix.slice(part * rows, rows));
      // Not a number is no small error.
      matrix.deep = error.rows <= kRowsMost && error.column <= kColumnMost;
    }
    if (!matrix.deep) ++exact;
  };
  for (Stage& stage : network.stages) {
    if (auto* attention = std::get_if<AttentionStage>(&stage)) {
      for (Linear* linear :
           {&attention->query, &attention->key, &attention->value, &attention->output}) {
        mark(linear->weight);
      }
    } else if (auto* feed_forward = std::get_if<FeedForwardStage>(&stage)) {
      for (Linear* linear : {&feed_forward->gate, &feed_forward->up, &feed_forward->down}) {
        mark(linear->weight);
      }
    } else {
      auto& experts = std::get<ExpertStage>(stage);
      for (Matrix* matrix : {&experts.gate, &experts.up, &experts.down}) {
        mark(*matrix, experts.experts);
      }
      for (Matrix* matrix : {&experts.shared_gate, &experts.shared_up, &experts.shared_down}) {
        mark(*matrix);
      }
    }
  }
  return exact;
}

}  // namespace ration
