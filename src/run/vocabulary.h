// run/vocabulary.h - from the last layer to logits: all of them, or the best few exactly.
//
// Source    the two-stage outputs of large-vocabulary models (screen all rows, compute few), with
//           the screen of tensor/kernel/screen_code.h.
// Computes  the `best` highest logits in the very bits of the whole product. All rows get an upper
//           bound from the upper four bits of their weights; the rows that may be among the best,
//           whose bound reaches the best-th product known so far, are multiplied whole.
// Departs   no approximate answer is ever used: what is not among the best is -infinity.
// Costs     with Q8_0 53 % of the bytes of the matrix, with Q6_K 70 %, and the rows left to see;
//           where these are too many, the whole matrix.
// Proved    test/run/vocabulary_test.cpp; on real models and text test/gate/model_gate_test.cpp.
// Private to run/.
#pragma once

#include <cstdint>
#include <vector>

#include "base/pool.h"
#include "base/unit.h"
#include "model/network.h"
#include "tensor/kernels.h"

namespace ration {

class VocabularyProduct {
 public:
  // x: [rows, width] in the format of the output matrix; logits: [rows, vocabulary]. All borrowed.
  VocabularyProduct(const Network& network, const Kernels& kernels, Pool& pool,
                    const Activations& x, float* logits)
      : network_(network), kernels_(kernels), pool_(pool), x_(x), logits_(logits) {}

  void write_all();
  // REQUIRES: best >= 1.
  void write_best(int64_t best);
  // Whether write_best() may read less than write_all().
  static bool has_screen(const Network& network) {
    return network.output.weight.layout == Layout::kSplitPanels;
  }
  // Panels of 16 rows that write_best() multiplied whole, for all rows of x.
  int64_t panels_seen() const { return panels_seen_; }
  // Of the matrix, by all that was written.
  Bytes bytes_read() const { return bytes_read_; }

 private:
  using Multiply = void (*)(const Matrix&, const Activations&, int64_t, int64_t, float*, int64_t);
  void fill(Multiply multiply, const Activations& x, float* logits, int64_t least_bytes);
  Activations row_of_x(int64_t row) const;
  void finish(float* logits, int64_t begin, int64_t end) const;
  bool write_best_of(int64_t row, int64_t best);
  void count_seen(int64_t panels);
  void see(int64_t row, const std::vector<int64_t>& panels);
  int64_t panels() const;

  const Network& network_;
  const Kernels& kernels_;
  Pool& pool_;
  const Activations& x_;
  float* const logits_;
  std::vector<bool> seen_;  // by panel, of the row at hand
  int64_t panels_seen_ = 0;
  Bytes bytes_read_;
};

}  // namespace ration
