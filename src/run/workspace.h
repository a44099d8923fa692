// run/workspace.h - the buffers of one forward pass, as one charged allocation. Private to run/.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/budget.h"
#include "model/network.h"
#include "run/engine.h"
#include "tensor/kernels.h"

namespace ration {

// The forms of activations that the consumers of one input want.
struct Formats {
  bool f32 = false;
  bool int8x32 = false;
  bool int8x256 = false;

  void add(ActivationFormat format);
};

// Quantised rows of one input, in up to three formats at once. Borrowed from the workspace.
struct ActivationRows {
  std::array<std::byte*, 3> data{};  // by ActivationFormat
  int64_t capacity = 0;              // rows each can hold

  Activations view(ActivationFormat format, int64_t tokens, int64_t cols) const;
};

// Up to this many tokens every worker quantises all of them for itself: cheaper than a barrier.
inline constexpr int64_t kPrivateTokens = 4;

// Query rows attended together, at least one token's, and results a thread held at a time.
inline constexpr int64_t kAttendRows = 64;
inline constexpr int64_t kAttendSlots = 8;

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
  float* gate = nullptr;        // [n, inner]
  float* up = nullptr;          // [n, inner]
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

 private:
  Workspace() = default;
  // Hands out the parts of `base` (null: only adds up) and returns the bytes they take.
  int64_t lay_out(const Network& network, const Kernels& kernels, int threads,
                  const EngineOptions& options, std::byte* base);

  std::byte* base_ = nullptr;
  int64_t size_ = 0;
  Charge charge_;
};

// The formats that these matrices want their common input in.
Formats formats_of(const Kernels& kernels, std::initializer_list<const Matrix*> matrices);

}  // namespace ration
