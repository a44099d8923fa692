// run/workspace.h - the buffers of one forward pass, as one charged allocation. Private to run/.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/budget.h"
#include "base/pool.h"
#include "model/network.h"
#include "run/engine.h"
#include "tensor/kernels.h"

namespace ration {

// The forms of activations that the consumers of one input want.
struct Formats {
  bool f32 = false;
  bool int8x32 = false;
  bool int8x256 = false;
  bool int8deep = false;

  void add(ActivationFormat format);
};

// What tokens of each role want.
using RoleFormats = std::array<Formats, 2>;  // by Role

// Of a batch whose first `prompts` tokens are of prompts.
inline const Formats& of_token(const RoleFormats& formats, int64_t prompts, int64_t token) {
  return formats[static_cast<size_t>(token < prompts ? Role::kPrompt : Role::kGenerated)];
}

// Calls visit(role, part) for the tokens of each role, those before `prompts` being of prompts;
// once for all of them, with either role, when the roles do not differ in what is computed.
template <class Visit>
void visit_roles(bool differ, int64_t prompts, Share tokens, Visit visit) {
  if (!differ) return visit(Role::kGenerated, tokens);
  const int64_t middle = std::clamp(prompts, tokens.begin, tokens.end);
  if (tokens.begin < middle) visit(Role::kPrompt, Share{tokens.begin, middle});
  if (middle < tokens.end) visit(Role::kGenerated, Share{middle, tokens.end});
}

// Quantised rows of one input, in up to four formats at once. Borrowed from the workspace.
struct ActivationRows {
  std::array<std::byte*, 4> data{};  // by ActivationFormat
  int64_t capacity = 0;              // rows each can hold

  Activations view(ActivationFormat format, Share rows, int64_t cols) const;
};

// Which tokens of the batch go where. A slot is one token at one expert; slots are in the order of
// experts, those of an expert in the order of tokens. Borrowed from the workspace.
struct ExpertRoutes {
  float* logits = nullptr;         // [n, experts] of the router
  float* shared_logits = nullptr;  // [n] of the shared expert's
  int32_t* ids = nullptr;          // [n, used] by token, the best first
  float* weights = nullptr;        // [n, used] of these
  int32_t* ends = nullptr;         // [experts] one past an expert's last slot
  int32_t* tokens = nullptr;       // [n * used] by slot
  float* slot_weights = nullptr;   // [n * used] by slot
};

// out[i] = norm(x)[i]; out may be x. REQUIRES: norm.present().
void normalise(const Kernels& kernels, const Norm& norm, const float* x, int64_t n, float* out);

// One row in each of the wanted formats, normalised first where there is a norm. x: [cols]; normed:
// [cols], scratch.
void prepare_row(const Kernels& kernels, const float* x, const Norm& norm, int64_t cols,
                 const Formats& formats, const ActivationRows& rows, int64_t row, float* normed);

// Rows of an expert's down projection that a worker computes before it adds them up.
inline constexpr int64_t kExpertRows = 128;

// Up to this many tokens every worker quantises all of them for itself: cheaper than a barrier.
inline constexpr int64_t kPrivateTokens = 4;

// Query rows attended together, at least one token's, and results a thread held at a time.
inline constexpr int64_t kAttendRows = 64;
inline constexpr int64_t kAttendSlots = 8;
inline constexpr int64_t kAttendSlotsOfTexts = 64;  // where a step may hold many short texts

// single-thread, except that workers use their own parts at once.
class Workspace {
 public:
  static Result<std::unique_ptr<Workspace>> make(const Network& network, const Kernels& kernels,
                                                 int threads, const EngineOptions& options,
                                                 Budget& budget);
  static Bytes bytes(const Network& network, const Kernels& kernels, int threads,
                     const EngineOptions& options);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  // n = step_tokens_max. All F32, row-major.
  float* residual = nullptr;    // [n, width]
  float* query = nullptr;       // [n, heads * head_size]
  float* key = nullptr;         // [n, kv_heads * head_size]
  float* value = nullptr;       // [n, kv_heads * head_size]
  float* attended = nullptr;    // [n, heads * head_size]
  float* gate = nullptr;        // [n, inner]; of experts: [n * used, expert's], [n, shared one's]
  float* up = nullptr;          // as gate
  float* projected = nullptr;   // [n, width]
  float* logits = nullptr;      // [logit_rows_max, vocabulary]
  std::vector<float*> cosines;  // by rope: [n, pairs]
  std::vector<float*> sines;
  ActivationRows shared;            // [n] rows, written by all workers together
  std::vector<ActivationRows> own;  // by worker: [kPrivateTokens] rows
  std::vector<float*> normed;       // by worker: [widest]
  // Results of attention segments (run/attention.h): attend_slot_count of
  // [attend_rows, attend_columns_of(head_size) + 2].
  float* attend_slots = nullptr;
  int64_t attend_slot_count = 0;
  int64_t attend_rows = 0;
  // Of networks with experts, `used` for a token.
  ExpertRoutes routes;
  ActivationRows slots;                   // [n * used] rows: what the experts' down reads
  std::vector<ActivationRows> own_slots;  // by worker: [kPrivateTokens * used] rows
  std::vector<ActivationRows> gathered;   // by worker: [n] rows, one expert's tokens
  std::vector<float*> expert_out;         // by worker: [n, kExpertRows]

 private:
  Workspace() = default;
  // Hands out the parts of `base` (null: only adds up) and returns the bytes they take.
  int64_t lay_out(const Network& network, const Kernels& kernels, int threads,
                  const EngineOptions& options, std::byte* base);

  std::byte* base_ = nullptr;
  int64_t size_ = 0;
  Charge charge_;
};

// Whether tokens of prompts are multiplied with some of these matrices in another arithmetic.
bool roles_differ(const Kernels& kernels, std::initializer_list<const Matrix*> matrices);

// The formats that these matrices want their common input in. Empty ones want none.
RoleFormats formats_of(const Kernels& kernels, std::initializer_list<const Matrix*> matrices);

}  // namespace ration
