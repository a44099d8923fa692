#include "test/gate/teacher.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace ration {

Teacher::Teacher(std::shared_ptr<const Model> model, const Kernels& kernels, int64_t context,
                 int threads, KvType kv_type)
    : budget_("gate", {.hard = Bytes{2048 * kMiB}}), pool_(threads) {
  Result<std::unique_ptr<Engine>> engine = Engine::make(std::move(model), kernels, pool_, budget_,
                                                        {.context = context,
                                                         .kv_tokens = context + kKvBlockTokens,
                                                         .step_tokens_max = kStepMax,
                                                         .logit_rows_max = kStepMax,
                                                         .kv_type = kv_type});
  CHECK(engine, engine ? "" : engine.error().message);
  engine_ = std::move(*engine);
  restart();
}

void Teacher::restart() {
  sequence_.reset();
  sequence_ = engine_->open();
}

void Teacher::feed(std::span<const Token> tokens, Role role, bool wants_logits,
                   int32_t best_logits) {
  const StepItem item{.sequence = sequence_.get(),
                      .tokens = tokens,
                      .role = role,
                      .wants_all_logits = wants_logits,
                      .best_logits = best_logits};
  const Status stepped = engine_->step({&item, 1});
  CHECK(stepped, stepped ? "" : stepped.error().message);
}

double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum);
}

Token best_of(std::span<const float> logits) {
  return static_cast<Token>(std::ranges::max_element(logits) - logits.begin());
}

double divergence(std::span<const float> p, std::span<const float> q) {
  CHECK(p.size() == q.size());
  const double p_total = log_sum_exp(p);
  const double q_total = log_sum_exp(q);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_total;
    sum += std::exp(log_p) * (log_p - (q[i] - q_total));
  }
  return sum;
}

void Distance::add(std::span<const float> logits, const ReferenceRun& reference, size_t row) {
  const Token wanted = reference.top[row];
  if (reference.gap[row] >= kGapMin && best_of(logits) != wanted) ++changed;
  const double found = logits[static_cast<size_t>(wanted)] - log_sum_exp(logits);
  const double difference = std::abs(found - reference.logprob[row]);
  sum += difference;
  most = std::max(most, difference);
  ++rows;
}

std::string Distance::text() const {
  return fmt::format("{} positions, {} other best ids, mean {:.6f}, most {:.6f} nat", rows, changed,
                     mean(), most);
}

}  // namespace ration
