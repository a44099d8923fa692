// model/arch/reader.h - what the family files read a network with.
//
// The first error sticks: later calls return harmless empties, and finish() reports it. So a family
// file reads like a list of what the family has. Private to model/arch.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf.h"
#include "model/network.h"

namespace ration {

// No size or count of a model is larger.
inline constexpr int64_t kSizeMax = 1 << 24;

// What a family knows of its experts beside their number.
struct ExpertShape {
  int64_t inner = 0;           // of one expert
  int64_t shared_inner = 0;    // of the one that sees every token; 0: there is none
  bool shared_router = false;  // its output is multiplied by a sigmoid
  bool renormalised = false;   // the weights of the chosen ones add up to 1
};

// single-thread; used once, for one network.
class NetworkReader {
 public:
  // known: keys that change the arithmetic of some families and that this one has too; a file of
  // another family that has them is refused.
  explicit NetworkReader(const Gguf& file, std::set<std::string_view> known = {});

  // Sizes and embedding: what every family has under the same names. pooling: where the file names
  // none.
  Network sizes(Pooling pooling = Pooling::kLast);
  // The same with final norm and output, and whatever would make a family something else refused.
  Network common();
  // The error if there was one; kUnsupported for a tensor that nobody asked for.
  Result<Network> finish(Network network);

  // "<architecture>.<key>" within [least, most].
  int64_t required_int(std::string_view key, int64_t least, int64_t most);
  int64_t int_or(std::string_view key, int64_t fallback, int64_t least, int64_t most);
  // One number for all layers or an array with one a layer; empty when the key is absent.
  std::vector<int64_t> layer_ints(std::string_view key, int64_t layers);
  double float_or(std::string_view key, double fallback);
  std::string string_or(std::string_view key, std::string_view fallback);

  // Tensors by name, shape checked. The optional forms give null or empty when it is absent.
  Matrix matrix(const std::string& name, int64_t rows, int64_t cols);
  Matrix optional_matrix(const std::string& name, int64_t rows, int64_t cols);
  // With as many rows as it has, but at least so many.
  Matrix table(const std::string& name, int64_t rows_least, int64_t cols);
  const float* vector(Network& network, const std::string& name, int64_t n);
  const float* optional_vector(Network& network, const std::string& name, int64_t n);
  bool has_key(std::string_view key) const { return file_.has(full_key(key)); }
  bool has_tensor(const std::string& name) const { return file_.find_tensor(name) != nullptr; }

  // "<name>.weight" and, where the file has it, "<name>.bias".
  Linear linear(Network& network, const std::string& name, int64_t rows, int64_t cols);
  Norm norm(Network& network, const std::string& name, int64_t n);
  // With "<name>.bias", which must be there.
  Norm layer_norm(Network& network, const std::string& name, int64_t n);

  // The stages most families share: attn_norm, attn_q/k/v (or attn_qkv), attn_output, ffn_*.
  AttentionStage attention(Network& network, int64_t layer);
  // The same without attn_norm.
  AttentionStage bare_attention(Network& network, int64_t layer);
  FeedForwardStage feed_forward(Network& network, int64_t layer);
  // As feed_forward(), where every query, key and value matrix must have a bias.
  AttentionStage biased_attention(Network& network, int64_t layer);
  // attn_q_norm and attn_k_norm, of each head.
  void norm_heads(Network& network, int64_t layer, AttentionStage& stage);
  // ffn_norm, ffn_gate_inp, ffn_*_exps and, where the shape says so, ffn_*_shexp. use_experts()
  // comes first: it reads how many there are, and refuses keys that would weight them otherwise.
  void use_experts(Network& network, const ExpertShape& shape);
  ExpertStage experts(Network& network, const ExpertShape& shape, int64_t layer);

  // Rotation as the rope.* keys and rope_* tensors describe it; `base` is used when rope.freq_base
  // is absent. kUnsupported names a scaling kind we do not know.
  Rope rope(Network& network, bool interleaved, double base = 10000);
  // Plain rotation with this base, no scaling.
  Rope plain_rope(const Network& network, bool interleaved, double base);

  // For families whose every layer sees everything: kUnsupported when the file names a window that
  // its context would ever meet.
  void refuse_window(const Network& network);

  void fail(Error error);
  bool failed() const { return error_.has_value(); }

 private:
  std::string full_key(std::string_view key) const {
    return architecture_ + "." + std::string(key);
  }
  void read_pooling(Network& network);
  const GgufTensor* take(const std::string& name, int64_t rows, int64_t cols, bool required);
  Matrix expert_matrix(const std::string& name, int64_t experts, int64_t rows, int64_t cols);
  void split_fused(Network& network, const std::string& name, AttentionStage& stage);
  int64_t rotated_pairs(const Network& network);
  void apply_yarn(Rope& rope, const Network& network, double base, double factor);
  void apply_longrope(Rope& rope, Network& network);
  void refuse_unknown_arithmetic();

  const Gguf& file_;
  const std::set<std::string_view> known_;
  std::string architecture_;
  std::set<std::string, std::less<>> taken_;
  std::optional<Error> error_;
};

}  // namespace ration
