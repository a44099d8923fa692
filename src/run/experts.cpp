#include "run/experts.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "run/deal.h"

namespace ration {
namespace {

constexpr int64_t kExpertRowsDealt = 64;  // the least worth dealing, of many tokens

// One stage over one batch.
class ExpertPass {
 public:
  ExpertPass(const Network& network, const ExpertStage& stage, const Kernels& kernels, Pool& pool,
             Workspace& space, int64_t prompts, int64_t tokens)
      : network_(network),
        stage_(stage),
        kernels_(kernels),
        pool_(pool),
        space_(space),
        routes_(space.routes),
        prompts_(prompts),
        tokens_(tokens),
        has_shared_(stage.shared_inner() > 0),
        roles_differ_(
            ration::roles_differ(kernels, {&stage.gate, &stage.up, &stage.down, &stage.shared_gate,
                                           &stage.shared_up, &stage.shared_down})) {}

  void run() {
    prepare_and_route();
    group();
    gate_and_up();
    down();
  }

 private:
  // The slots of one expert.
  Share slots_of(int64_t expert) const {
    return {expert == 0 ? 0 : routes_.ends[expert - 1], routes_.ends[expert]};
  }
  // Calls visit(expert, role, slots) for each expert that has some, in order.
  template <class Visit>
  void visit_experts(Visit visit) const {
    for (int64_t expert = 0; expert < stage_.experts; ++expert) {
      const Share slots = slots_of(expert);
      const int32_t* tokens = routes_.tokens;
      const int64_t prompts =
          std::lower_bound(tokens + slots.begin, tokens + slots.end, prompts_) - tokens;
      if (slots.begin == slots.end) continue;
      visit_roles(roles_differ_, prompts, slots,
                  [&](Role role, Share part) { visit(expert, role, part); });
    }
  }
  bool private_rows() const { return tokens_ <= kPrivateTokens; }
  const ActivationRows& rows_for(int worker) const {
    return private_rows() ? space_.own[static_cast<size_t>(worker)] : space_.shared;
  }
  const ActivationRows& slots_for(int worker) const {
    return private_rows() ? space_.own_slots[static_cast<size_t>(worker)] : space_.slots;
  }
  // Deals rows that stand for `bytes` each; all experts' rows of one number are dealt together, so
  // that workers have the same to do whatever the tokens choose.
  Dealer deal(int64_t rows, int64_t bytes) const {
    return deal_rows(pool_, rows, bytes, tokens_, kExpertRowsDealt);
  }

  void prepare_and_route();
  void choose(int64_t token);
  void group();
  void gate_and_up();
  Activations tokens_of(Share slots, ActivationFormat format, int worker);
  void multiply(const Matrix& gate, const Matrix& up, const Activations& gate_in,
                const Activations& up_in, Share rows, float* gate_out, float* up_out);
  void quantize_slots(int worker, int workers, const ActivationRows& slots_out,
                      const ActivationRows& shared_out);
  void down();
  void down(Share rows, int worker);

  const Network& network_;
  const ExpertStage& stage_;
  const Kernels& kernels_;
  Pool& pool_;
  Workspace& space_;
  ExpertRoutes& routes_;
  const int64_t prompts_;
  const int64_t tokens_;
  const bool has_shared_;
  const bool roles_differ_;
  int64_t active_ = 0;  // experts that some token goes to
};

// Quantises the tokens, and computes what the routers say of them.
void ExpertPass::prepare_and_route() {
  const int64_t width = network_.width;
  const bool has_gate = !stage_.shared_router.empty();
  const RoleFormats formats =
      formats_of(kernels_, {&stage_.router, &stage_.shared_router, &stage_.gate, &stage_.up,
                            &stage_.shared_gate, &stage_.shared_up});
  const auto prepare = [&](Share share, const ActivationRows& rows, int worker) {
    for (int64_t t = share.begin; t < share.end; ++t) {
      prepare_row(kernels_, space_.residual + t * width, stage_.before, width,
                  of_token(formats, prompts_, t), rows, t,
                  space_.normed[static_cast<size_t>(worker)]);
    }
  };
  if (!private_rows()) {
    pool_.run([&](int worker) {
      prepare(share_of(tokens_, worker, pool_.threads()), space_.shared, worker);
    });
  }
  pool_.run([&](int worker) {
    const ActivationRows& rows = rows_for(worker);
    if (private_rows()) prepare({0, tokens_}, rows, worker);
    const auto multiply = [&](const Matrix& matrix, float* out) {
      const Share share = share_of(matrix.rows, worker, pool_.threads(), kRowsAPanel);
      if (share.begin == share.end) return;
      kernels_.matmul(matrix, rows.view(kernels_.format_of(matrix.dtype), {0, tokens_}, width),
                      share.begin, share.end, out, matrix.rows);
    };
    multiply(stage_.router, routes_.logits);
    if (has_gate) multiply(stage_.shared_router, routes_.shared_logits);
  });
}

void ExpertPass::choose(int64_t token) {
  const auto experts = static_cast<size_t>(stage_.experts);
  const auto used = static_cast<size_t>(stage_.used);
  choose_experts({routes_.logits + token * stage_.experts, experts}, stage_.renormalised,
                 {routes_.ids + token * stage_.used, used},
                 {routes_.weights + token * stage_.used, used});
}

// Sorts the tokens by expert.
void ExpertPass::group() {
  if (private_rows()) {
    for (int64_t t = 0; t < tokens_; ++t) choose(t);
  } else {
    pool_.run([&](int worker) {
      const Share share = share_of(tokens_, worker, pool_.threads());
      for (int64_t t = share.begin; t < share.end; ++t) choose(t);
    });
  }
  const int64_t count = tokens_ * stage_.used;
  int32_t* ends = routes_.ends;
  std::fill_n(ends, stage_.experts, 0);
  for (int64_t i = 0; i < count; ++i) ++ends[routes_.ids[i]];
  int32_t begin = 0;
  active_ = 0;
  for (int64_t expert = 0; expert < stage_.experts; ++expert) {
    const int32_t slots = ends[expert];
    active_ += slots > 0;
    ends[expert] = begin;  // moves on with each slot that is placed
    begin += slots;
  }
  for (int64_t i = 0; i < count; ++i) {
    const int32_t slot = ends[routes_.ids[i]]++;
    routes_.tokens[slot] = static_cast<int32_t>(i / stage_.used);
    routes_.slot_weights[slot] = routes_.weights[i] * network_.residual_scale;
  }
}

// The prepared rows of an expert's tokens: where they lie when they are neighbours, else a copy.
Activations ExpertPass::tokens_of(Share slots, ActivationFormat format, int worker) {
  const int64_t count = slots.end - slots.begin;
  const int32_t* tokens = routes_.tokens + slots.begin;
  Activations rows = rows_for(worker).view(format, {0, tokens_}, network_.width);
  if (tokens[count - 1] - tokens[0] == count - 1) {
    rows.data = rows.row(tokens[0]);
    rows.tokens = count;
    return rows;
  }
  const ActivationRows& gathered = space_.gathered[static_cast<size_t>(worker)];
  std::byte* out = gathered.data[static_cast<size_t>(format)];
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(out + i * rows.row_bytes, rows.row(tokens[i]), static_cast<size_t>(rows.row_bytes));
  }
  return gathered.view(format, {0, count}, network_.width);
}

// gate_out = silu(gate . x) * (up . x) for some rows of all of x.
void ExpertPass::multiply(const Matrix& gate, const Matrix& up, const Activations& gate_in,
                          const Activations& up_in, Share rows, float* gate_out, float* up_out) {
  kernels_.matmul(gate, gate_in, rows.begin, rows.end, gate_out, gate.rows);
  kernels_.matmul(up, up_in, rows.begin, rows.end, up_out, up.rows);
  for (int64_t t = 0; t < gate_in.tokens; ++t) {
    const int64_t at = t * gate.rows + rows.begin;
    kernels_.silu_multiply(gate_out + at, up_out + at, rows.end - rows.begin, gate_out + at);
  }
}

void ExpertPass::gate_and_up() {
  const int64_t inner = stage_.inner();
  const int64_t shared_inner = stage_.shared_inner();
  const int64_t shared_at = tokens_ * stage_.used * inner;
  const auto scale = [](float* x, int64_t n, float factor) {
    for (int64_t i = 0; i < n; ++i) x[i] *= factor;
  };
  const auto work = [&](Share rows, int worker) {
    visit_experts([&](int64_t expert, Role role, Share slots) {
      const Matrix gate = stage_.gate.slice(expert * inner, inner);
      const Matrix up = stage_.up.slice(expert * inner, inner);
      const ActivationFormat gate_format = kernels_.format_for(gate, role);
      const ActivationFormat up_format = kernels_.format_for(up, role);
      const Activations x = tokens_of(slots, gate_format, worker);
      multiply(gate, up, x, up_format == gate_format ? x : tokens_of(slots, up_format, worker),
               rows, space_.gate + slots.begin * inner, space_.up + slots.begin * inner);
      for (int64_t slot = slots.begin; slot < slots.end; ++slot) {
        scale(space_.gate + slot * inner + rows.begin, rows.end - rows.begin,
              routes_.slot_weights[slot]);
      }
    });
  };
  const auto work_shared = [&](Share rows, int worker) {
    float* gate = space_.gate + shared_at;
    visit_roles(roles_differ_, prompts_, {0, tokens_}, [&](Role role, Share part) {
      const auto view = [&](const Matrix& matrix) {
        return rows_for(worker).view(kernels_.format_for(matrix, role), part, network_.width);
      };
      const int64_t at = part.begin * shared_inner;
      multiply(stage_.shared_gate, stage_.shared_up, view(stage_.shared_gate),
               view(stage_.shared_up), rows, gate + at, space_.up + shared_at + at);
    });
    for (int64_t t = 0; t < tokens_; ++t) {
      float factor = network_.residual_scale;
      if (!stage_.shared_router.empty()) factor /= 1 + std::exp(-routes_.shared_logits[t]);
      if (factor == 1) continue;
      scale(gate + t * shared_inner + rows.begin, rows.end - rows.begin, factor);
    }
  };
  Dealer dealer = deal(inner, active_ * (stage_.gate.row_bytes() + stage_.up.row_bytes()));
  Dealer shared = deal(shared_inner, has_shared_ ? 2 * stage_.shared_gate.row_bytes() : 1);
  pool_.run([&](int worker) {
    dealer.work(worker, [&](Share rows) { work(rows, worker); });
    if (has_shared_) shared.work(worker, [&](Share rows) { work_shared(rows, worker); });
  });
}

// What down reads: a share of the slots, and of the shared expert's rows. Nobody reads the tokens'
// rows any more, so that the latter take their place.
void ExpertPass::quantize_slots(int worker, int workers, const ActivationRows& slots_out,
                                const ActivationRows& shared_out) {
  const int64_t inner = stage_.inner();
  const int64_t slots = tokens_ * stage_.used;
  const RoleFormats formats = formats_of(kernels_, {&stage_.down});
  Share share = share_of(slots, worker, workers);
  for (int64_t slot = share.begin; slot < share.end; ++slot) {
    prepare_row(kernels_, space_.gate + slot * inner, {}, inner,
                of_token(formats, prompts_, routes_.tokens[slot]), slots_out, slot, nullptr);
  }
  if (!has_shared_) return;
  const RoleFormats shared_formats = formats_of(kernels_, {&stage_.shared_down});
  const int64_t shared_inner = stage_.shared_inner();
  share = share_of(tokens_, worker, workers);
  for (int64_t t = share.begin; t < share.end; ++t) {
    prepare_row(kernels_, space_.gate + slots * inner + t * shared_inner, {}, shared_inner,
                of_token(shared_formats, prompts_, t), shared_out, t, nullptr);
  }
}

void ExpertPass::down() {
  Dealer dealer = deal(network_.width, active_ * stage_.down.row_bytes());
  if (!private_rows()) {
    pool_.run(
        [&](int worker) { quantize_slots(worker, pool_.threads(), space_.slots, space_.shared); });
  }
  pool_.run([&](int worker) {
    if (private_rows()) quantize_slots(0, 1, slots_for(worker), rows_for(worker));
    dealer.work(worker, [&](Share share) {
      for (int64_t row = share.begin; row < share.end; row += kExpertRows) {
        down({row, std::min(row + kExpertRows, share.end)}, worker);
      }
    });
  });
}

// Adds rows of all experts' outputs to the residual, expert after expert, the shared one last.
void ExpertPass::down(Share rows, int worker) {
  const int64_t width = network_.width;
  const int64_t count = rows.end - rows.begin;
  float* out = space_.expert_out[static_cast<size_t>(worker)];
  const auto multiply = [&](const Matrix& matrix, int64_t first_row, Role role,
                            const ActivationRows& x, Share part) {
    kernels_.matmul(matrix.slice(first_row, count),
                    x.view(kernels_.format_for(matrix, role), part, matrix.cols), 0, count, out,
                    count);
  };
  visit_experts([&](int64_t expert, Role role, Share slots) {
    multiply(stage_.down, expert * width + rows.begin, role, slots_for(worker), slots);
    for (int64_t slot = slots.begin; slot < slots.end; ++slot) {
      kernels_.add(space_.residual + routes_.tokens[slot] * width + rows.begin,
                   out + (slot - slots.begin) * count, count);
    }
  });
  if (!has_shared_) return;
  visit_roles(roles_differ_, prompts_, {0, tokens_}, [&](Role role, Share part) {
    multiply(stage_.shared_down, rows.begin, role, rows_for(worker), part);
    for (int64_t t = part.begin; t < part.end; ++t) {
      kernels_.add(space_.residual + t * width + rows.begin, out + (t - part.begin) * count, count);
    }
  });
}

}  // namespace

void choose_experts(std::span<const float> logits, bool renormalised, std::span<int32_t> ids,
                    std::span<float> weights) {
  CHECK(!ids.empty() && ids.size() == weights.size() && ids.size() <= logits.size());
  size_t chosen = 0;
  for (size_t expert = 0; expert < logits.size(); ++expert) {
    const float logit = logits[expert];
    size_t place = chosen;
    while (place > 0 && logit > weights[place - 1]) --place;  // false for equal ones and for NaN
    if (place == ids.size()) continue;
    chosen = std::min(chosen + 1, ids.size());
    for (size_t i = chosen - 1; i > place; --i) {
      ids[i] = ids[i - 1];
      weights[i] = weights[i - 1];
    }
    ids[place] = static_cast<int32_t>(expert);
    weights[place] = logit;
  }
  const float most = weights.front();
  float total = 0;
  if (!renormalised) {
    for (const float logit : logits) total += std::exp(logit - most);
  }
  for (float& weight : weights) {
    weight = std::exp(weight - most);
    if (renormalised) total += weight;
  }
  for (float& weight : weights) weight /= total;
}

void run_experts(const Network& network, const ExpertStage& stage, const Kernels& kernels,
                 Pool& pool, Workspace& space, int64_t prompts, int64_t tokens) {
  ExpertPass(network, stage, kernels, pool, space, prompts, tokens).run();
}

}  // namespace ration
