// tensor/kernels.h - the arithmetic of a forward pass, one table of functions an instruction set.
//
// Every set has the same functions. choose_kernels() picks the best the machine has, RATION_ISA
// forces one. `reference` is plain C++ in the order a textbook has it, works on every type, keeps
// activations in F32 and stays the yardstick of the rest.
//
// THE RULE OF ROLES. What a function computes for one (row, token) pair depends on that row, that
// token's numbers and nothing else: not on how many tokens or rows are in the call, not on where in
// the batch the token stands. So results are bit-identical for every batch, chunk and thread count.
//
// A product's arithmetic is the form of its activations, and format_for() finds that from the
// matrix and the role of the tokens, never from how many there are.
//
// A set is offered only after it has multiplied small matrices of every type as the reference does
// (prove.h): a fault of it, of the compiler or of the machine costs speed, never an answer.
//
// To add a set: tensor/kernel/<isa>_*.cpp, a row in kernels.cpp. All functions are thread-safe, do
// not allocate, and borrow what they are given. Alignment: nothing is required unless stated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/matrix.h"

namespace ration {

// Tokens in one block of the paged cache. Blocks start at positions that are multiples of it.
inline constexpr int64_t kKvBlockTokens = 32;

// What keys and values are kept as. F32 is for measuring what the others cost: every set leaves it
// to the reference.
enum class KvType : uint8_t { kF16, kF32, kInt8 };
constexpr int64_t kv_element_bytes(KvType type) {
  return type == KvType::kInt8 ? 1 : type == KvType::kF16 ? 2 : 4;
}

constexpr std::string_view kv_type_name(KvType type) {
  return type == KvType::kInt8 ? "int8" : type == KvType::kF16 ? "f16" : "f32";
}

// Int8 keys and values have an F16 scale each a position.
constexpr int64_t kv_scale_bytes(KvType type) { return type == KvType::kInt8 ? 2 : 0; }

// Positions that one call of attend() may cover. Longer contexts are attended in segments that
// begin at its multiples, whatever the batch or the threads, and are joined in order: the rule of
// roles.
inline constexpr int64_t kAttendSegment = 512;

// Numbers a head's values and attention results take in a row: head_size in whole vectors.
constexpr int64_t attend_columns_of(int64_t head_size) { return (head_size + 15) / 16 * 16; }

// Bytes of one head's keys and values in a block:
//   keys   [head_size][32 positions], of int8 then scales [32 positions]
//   values [32 positions][attend_columns_of(head_size)], of int8 then scales [32 positions]
constexpr int64_t kv_key_bytes(KvType type, int64_t head_size) {
  return kKvBlockTokens * (head_size * kv_element_bytes(type) + kv_scale_bytes(type));
}
constexpr int64_t kv_value_bytes(KvType type, int64_t head_size) {
  return kv_key_bytes(type, attend_columns_of(head_size));
}

// Attention of consecutive query tokens of one sequence over one segment of what they see, for
// query heads that share one key/value head. Row r is head r % heads of token r / heads.
struct AttendArguments {
  const float* query = nullptr;  // rotated, not yet scaled: [heads, head_size] of each token
  int64_t query_stride = 0;      // numbers from one token's heads to the next one's
  int64_t tokens = 0;
  int64_t heads = 0;
  int64_t head_size = 0;
  // blocks[p / 32] holds position p of this layer and kv head, in numbers of `type`: 32 keys at
  // key_offset, 32 values at value_offset (both in bytes; kv_key_bytes() says how they lie).
  KvType type = KvType::kF16;
  const std::byte* const* blocks = nullptr;
  int64_t key_offset = 0;
  int64_t value_offset = 0;
  int64_t position = 0;     // of the first token; each sees itself and what is before it
  int64_t window = 0;       // sees itself and the window - 1 positions before; 0: everything
  bool sees_later = false;  // every token sees all of the segment, whatever its position
  int64_t begin = 0;  // the segment: begin is a multiple of 32, at most kAttendSegment positions
  int64_t end = 0;
  float scale = 1;    // scores = scale * q.k
  float softcap = 0;  // scores = softcap * tanh(scores / softcap) when positive
  // Results, to be divided by `total` when all segments are joined. A row that sees nothing of the
  // segment has total 0, largest -infinity and zeros.
  float* out = nullptr;      // [rows, attend_columns_of(head_size)]: sum of e^(score - largest) v
  float* largest = nullptr;  // [rows]
  float* total = nullptr;    // [rows]: sum of e^(score - largest)
};

// Positions [first, last) of a block, counted from its beginning, that a token of the call sees.
struct AttendRange {
  int64_t first;
  int64_t last;

  bool operator==(const AttendRange&) const = default;
};
constexpr AttendRange attend_range(const AttendArguments& a, int64_t token, int64_t block) {
  const int64_t start = block * kKvBlockTokens;
  const int64_t end = a.sees_later ? a.end : a.position + token + 1;
  const int64_t begin = a.window > 0 && end > a.window ? end - a.window : 0;
  const int64_t last = (end < a.end ? end : a.end) - start;
  return {begin > start ? begin - start : 0, last < kKvBlockTokens ? last : kKvBlockTokens};
}

// Loops that do nothing but reach a limit of the machine with the set's own instructions: what the
// speed of products is held against. Nothing here looks at a clock.
struct Probes {
  // Reads all of it, several runs of addresses side by side, and returns the exclusive or of its
  // 8-byte words. REQUIRES: bytes is a multiple of 8.
  uint64_t (*read)(const std::byte* data, int64_t bytes);
  // Multiplies and adds 8-bit numbers out of registers and the nearest cache. Returns the sum of
  // all products, each kProbeWeight * kProbeNumber. REQUIRES: rounds <=
  // kProbeRoundsMax.
  int64_t (*multiply)(int64_t rounds);
  int64_t operations_a_round;  // a product and its addition are two
};
inline constexpr int kProbeWeight = 3;
inline constexpr int kProbeNumber = 5;
inline constexpr int64_t kProbeRoundsMax = 200'000;

struct Kernels {
  std::string_view isa;
  Layout layout;  // of quantised matrices, where it is fastest

  // Whether matmul() has deep products: int8 on both sides, int32 sums 256 columns deep. For
  // quantised types only.
  bool deep = false;

  // The activation format of the exact product with weights of this type.
  ActivationFormat (*format_of)(DType dtype);

  // The activation format of this matrix's product with tokens of this role.
  ActivationFormat format_for(const Matrix& w, Role role) const {
    const bool is_deep = deep && w.deep && role == Role::kPrompt && has_panels(w.dtype);
    return is_deep ? ActivationFormat::kInt8Deep : format_of(w.dtype);
  }

  // x: [cols] F32 -> one row in `format`, activation_row_bytes(format, cols) bytes, 64-byte
  // aligned.
  void (*quantize)(ActivationFormat format, const float* x, int64_t cols, std::byte* out);

  // out[t * out_stride + r] = W[r, :] . X[t, :] for r in [row_begin, row_end), every t.
  // REQUIRES: x.format == format_of(w.dtype), or kInt8Deep where the set has it and the type is
  // quantised; x.cols == w.cols; with panels, row_begin is the first
  // row of one.
  void (*matmul)(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end,
                 float* out, int64_t out_stride);

  // out[t * out_stride + r] = a bound that W[r, :] . X[t, :], as matmul() gives it, stays below:
  // from the upper four bits of the weights alone. What the others may add is bounded as the sum of
  // numbers that know nothing of the activations (kernel/screen_code.h), not for every matrix that
  // could be made up. REQUIRES: as matmul(), and split panels.
  void (*screen)(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end,
                 float* out, int64_t out_stride);

  // out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]; out may be x.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t n, float* out);

  // out[i] = (x[i] - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * weight[i] + bias[i]; out
  // may be x.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon,
                     int64_t n, float* out);

  // x[i] += y[i]
  void (*add)(float* x, const float* y, int64_t n);

  // out[i] = silu(gate[i]) * up[i]; out may be gate.
  void (*silu_multiply)(const float* gate, const float* up, int64_t n, float* out);

  // out[i] = gelu(gate[i]) * up[i] with the tanh approximation; out may be gate.
  void (*gelu_multiply)(const float* gate, const float* up, int64_t n, float* out);

  // out[i] = x[i] / 2 * (1 + erf(x[i] / sqrt(2))); out may be x. Absolute error below 2e-6 |x|.
  void (*gelu)(const float* x, int64_t n, float* out);

  // Rotates the first 2 * pairs numbers of one head in place by angles given as cosines and sines
  // [pairs]. interleaved: pair i is (2i, 2i+1); else (i, i + pairs), the "neox" order.
  void (*rotate)(float* head, const float* cosines, const float* sines, int64_t pairs,
                 bool interleaved);

  void (*to_f16)(const float* x, int64_t n, uint16_t* out);

  void (*attend)(const AttendArguments& arguments);

  Probes probes;
};

// Bytes of one activation row, a multiple of 64.
int64_t activation_row_bytes(ActivationFormat format, int64_t cols);

// One row of a weight matrix as F32 (an embedding): out is [cols]. The reference arithmetic.
void dequantize_row(const Matrix& w, int64_t row, float* out);
// Columns [first, first + n) of a row. REQUIRES: both are multiples of the type's block.
void dequantize_columns(const Matrix& w, int64_t row, int64_t first, int64_t n, float* out);
// The same for bare blocks. REQUIRES: n is a multiple of the type's block.
void dequantize(DType dtype, const std::byte* blocks, int64_t n, float* out);

// Best first, reference last; only what this machine can run and what proved right on it.
std::span<const Kernels* const> available_kernels();

// A set this machine has the instructions of, and why it is not offered.
struct RefusedKernels {
  std::string_view isa;
  std::string reason;
};
// Of the sets that were tried so far: available_kernels() tries all, choose_kernels() until one is
// right.
std::vector<RefusedKernels> refused_kernels();

// The named set, or the best one when `isa` is empty. kNotFound names the sets this machine has;
// kUnsupported says why the named one is refused.
Result<const Kernels*> choose_kernels(std::string_view isa);

float f16_to_f32(uint16_t half);
uint16_t f32_to_f16(float value);  // round to nearest even

}  // namespace ration
