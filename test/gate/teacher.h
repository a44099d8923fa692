// test/gate/teacher.h - an engine that is fed known tokens, and measures of what comes out.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/budget.h"
#include "base/pool.h"
#include "run/engine.h"
#include "test/gate/reference.h"

namespace ration {

// single-thread.
class Teacher {
 public:
  static constexpr int64_t kStepMax = 64;  // tokens of one feed()

  Teacher(std::shared_ptr<const Model> model, const Kernels& kernels, int64_t context, int threads,
          KvType kv_type = KvType::kF16);

  void restart();  // an empty sequence
  // Appends at most kStepMax tokens. With wants_logits, logits(i) is the output after tokens[i].
  // best_logits: as StepItem's.
  void feed(std::span<const Token> tokens, Role role, bool wants_logits, int32_t best_logits = 0);
  std::span<const float> logits(int64_t row) { return engine_->logits(row); }

 private:
  Budget budget_;
  Pool pool_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Sequence> sequence_;
};

double log_sum_exp(std::span<const float> logits);
Token best_of(std::span<const float> logits);
// KL(p || q) in nats of two rows of logits over one vocabulary.
double divergence(std::span<const float> p, std::span<const float> q);

// How far rows are from the reference's; add() them in order.
struct Distance {
  int64_t rows = 0;
  int64_t changed = 0;  // rows with a gap of kGapMin or more whose best id is another
  double sum = 0;       // of |difference| of the log-probability of the reference's best id, nats
  double most = 0;

  void add(std::span<const float> logits, const ReferenceRun& reference, size_t row);
  double mean() const { return rows == 0 ? 0 : sum / static_cast<double>(rows); }
  std::string text() const;
};

}  // namespace ration
