// plan/plan.h - what an answer will cost, worked out before anything is allocated. So far: memory.
// And who gets what when there is not enough for all: policies that several rooms share.
//
//   Scheduler  what an engine's next step does (schedule.h), and what it would do with a trace
//              (replay.h)
//   Residency  which models are in memory, and who goes for whom (residency.h); the same with a
//              trace (replay_residency.h)
//
// Pure functions over plain structs: the same ones serve a start-up, a model that is only a row in
// a catalogue, and a simulated machine. To add another resource: its own struct and function here,
// its arithmetic in a file of its own.
//
//   const ModelCost model{.name = "smollm2-135m", .weights = Bytes{98'362'432}, .layers = 30, ...};
//   Result<MemoryPlan> plan = plan_memory(model, {.limit = Bytes{300'000'000}, .program = ...});
//   if (!plan) return plan.error();       // kOverBudget: how much is missing, and what would fit
//   engine(plan->context, plan->step_tokens, ...)
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/budget.h"
#include "base/result.h"
#include "base/unit.h"
#include "plan/replay.h"            // IWYU pragma: export
#include "plan/replay_residency.h"  // IWYU pragma: export
#include "plan/residency.h"         // IWYU pragma: export
#include "plan/schedule.h"          // IWYU pragma: export
#include "tensor/kernels.h"

namespace ration {

// Keys and values are taken in blocks of so many tokens.
inline constexpr int64_t kPlanBlockTokens = 32;

// Another file of the same model: a smaller quantisation that a refusal can point to.
struct ModelVariant {
  std::string name{};
  Bytes weights{};
};

// What a model's memory depends on. Numbers may come from an untrusted file: sums saturate.
struct ModelCost {
  std::string name{};
  Bytes weights{};  // as mapped
  Bytes tables{};   // tokeniser and template
  int64_t layers = 0;
  int64_t windowed_layers = 0;  // of them; they see `window` tokens and hold no more than they need
  int64_t window = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  KvType kv_type = KvType::kF16;
  int64_t width = 0;
  int64_t inner = 0;  // of the widest feed-forward layer
  int64_t vocabulary = 0;
  int64_t context_max = 0;  // tokens the model was made for
  std::vector<ModelVariant> variants{};
};

// The shape of the largest step, on which the buffers of a forward pass depend.
struct StepShape {
  int64_t context = 0;
  int64_t step_tokens = 0;
  int64_t logit_rows = 0;
};

struct MemoryNeeds {
  Bytes limit{};
  Bytes program{};              // resident before any model: code, libraries, stacks
  Bytes slack{4 * kMiB};        // heap and page tables that no tag counts
  int64_t context = 0;          // exactly this many tokens; 0: as many as fit
  int64_t context_min = 32;     // when context is 0: fewer is a refusal
  int64_t context_good = 2048;  // up to here context is worth more than prefill speed
  int64_t sequences = 1;        // conversations at once
  int64_t logit_rows = 1;       // positions of a step whose logits are wanted
  int64_t step_tokens_max = 128;
  int64_t step_tokens_min = 16;
  int threads = 1;
  // Bytes of a forward pass; the engine knows. Rises with each field of the shape. Null: estimated.
  std::function<Bytes(const StepShape&)> activations{};
};

struct MemoryPlan {
  int64_t context = 0;    // of one conversation: whole blocks, or all the model was made for
  int64_t kv_tokens = 0;  // of all conversations together, whole blocks
  int64_t step_tokens = 0;
  std::array<Bytes, kTagCount> by_tag{};
  Bytes total{};  // the sum; at most the limit it was planned for

  Bytes of(Tag tag) const { return by_tag[static_cast<size_t>(tag)]; }
};

// A block of 32 tokens of all layers: layers x (key, value) x kv_heads x head_size x the bytes of
// the type and its scales, in whole pages.
Bytes kv_block_bytes(const ModelCost& model);

// What conversations that hold so many tokens together keep of them at most. Of a conversation,
// layers with a sliding window hold the window, a step, and a block or two around them.
Bytes kv_bytes(const ModelCost& model, int64_t tokens, int64_t sequences, int64_t step_tokens);

// Buffers of a forward pass where no engine is at hand: never less than ours takes.
Bytes estimate_activations(const ModelCost& model, const StepShape& shape, int threads);

// What a certain context and step would take; ignores the limit. kv_tokens: at least context.
MemoryPlan cost_at(const ModelCost& model, const MemoryNeeds& needs, int64_t context,
                   int64_t step_tokens, int64_t kv_tokens);

// The least limit under which plan_memory() succeeds.
Bytes least_memory(const ModelCost& model, const MemoryNeeds& needs);

// The best shape within the limit. While the context is below context_good, steps shrink (down to
// step_tokens_min) to make room for it; beyond it, steps are full and the rest goes to context;
// what is then left holds further conversations. A larger limit never gives a shorter context.
// kInvalid: the context is longer than the model's, or the needs contradict each other.
// kOverBudget: nothing fits; carries the shortfall and says what would fit.
Result<MemoryPlan> plan_memory(const ModelCost& model, const MemoryNeeds& needs);

// Tags that are not zero, largest first: "142 MB: weights 98.4 MB, scratch 20.1 MB, kv 12.3 MB".
std::string to_text(const MemoryPlan& plan);

}  // namespace ration
