// model/network.h - a model as a short list of stages over borrowed weights.
//
// A family file (model/arch/<family>.cpp) reads a GGUF file into a Network; the engine executes the
// stages and knows no family by name. Shapes: width = residual stream, a head is head_size numbers.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <variant>
#include <vector>

#include "tensor/matrix.h"

namespace ration {

// y = W x + bias. weight: [outputs, inputs]; bias: [outputs] F32 or null.
struct Linear {
  Matrix weight;
  const float* bias = nullptr;
};

// Root-mean-square normalisation or, where there is a bias, a layer norm, which takes the mean off
// too. weight, bias: [n] F32; weight is null when the stage has no such norm.
struct Norm {
  const float* weight = nullptr;
  float epsilon = 0;
  const float* bias = nullptr;

  bool present() const { return weight != nullptr; }
};

// Rotary position encoding. Pair i turns by position * frequencies[i]; cosine and sine are
// multiplied by magnitude.
struct Rope {
  bool interleaved = false;        // pair i is (2i, 2i+1); else (i, i + pairs)
  std::vector<float> frequencies;  // [pairs]
  float magnitude = 1;
  // Models trained short and stretched (longrope) carry a second set for contexts beyond
  // `long_beyond` tokens; empty when there is only one.
  std::vector<float> long_frequencies;
  float long_magnitude = 1;
  int64_t long_beyond = 0;
};

// x += after(output(attend(rotate(query_norm(q)), rotate(key_norm(k)), v))) of before(x); then
// x = closing(x)
struct AttentionStage {
  Norm before;
  Linear query;     // [heads * head_size, width]
  Linear key;       // [kv_heads * head_size, width]
  Linear value;     // [kv_heads * head_size, width]
  Norm query_norm;  // over head_size, before the rotation
  Norm key_norm;
  size_t rope = 0;     // index into Network::ropes, where there are any
  int64_t window = 0;  // sees itself and the window - 1 positions before; 0: everything
  float scale = 1;     // of q.k
  float softcap = 0;
  Linear output;  // [width, heads * head_size]
  Norm after;
  Norm closing;
  bool norms_span_heads = false;  // query_norm and key_norm are over all heads of a token at once
};

// kGelu is the tanh approximation, kErfGelu the definition.
enum class Activation : uint8_t { kSilu, kGelu, kErfGelu };

// x += after(down(activation(gate(before(x))) * up(before(x)))), or, without a gate,
// x += after(down(activation(up(before(x))))); then x = closing(x)
struct FeedForwardStage {
  Norm before;
  Linear gate;  // [inner, width]; empty: none, and the activation is kErfGelu
  Linear up;    // [inner, width]
  Linear down;  // [width, inner]
  Activation activation = Activation::kSilu;
  Norm after;
  Norm closing;
};

// x += sum of weight * down(silu(gate(y)) * up(y)) over the experts that y = before(x) is sent to:
// the `used` ones with the largest outputs of the router, of equal ones the first. The weights are
// a softmax of these outputs, over all experts or, renormalised, over the chosen ones.
struct ExpertStage {
  Norm before;
  Matrix router;  // [experts, width]
  int64_t experts = 0;
  int64_t used = 0;
  bool renormalised = false;
  // Expert after expert; expert e of `gate` is gate.slice(e * inner, inner).
  Matrix gate;  // [experts * inner, width]
  Matrix up;    // [experts * inner, width]
  Matrix down;  // [experts * width, inner]
  // One more expert that sees every token; empty where the family has none. Its output is
  // multiplied by the sigmoid of shared_router . y where there is one.
  Matrix shared_gate;    // [shared inner, width]
  Matrix shared_up;      // [shared inner, width]
  Matrix shared_down;    // [width, shared inner]
  Matrix shared_router;  // [1, width]

  int64_t inner() const { return down.cols; }
  int64_t shared_inner() const { return shared_down.cols; }
};

using Stage = std::variant<AttentionStage, FeedForwardStage, ExpertStage>;

// Which tokens' last states become the vector of a text: the first one's, the last one's, or the
// mean of all.
enum class Pooling : uint8_t { kFirst, kLast, kMean };

struct Network {
  std::string family;
  int64_t width = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  // Numbers a token has between gate and down in the widest feed-forward layer: of all experts that
  // it is sent to, and of the shared one.
  int64_t inner = 0;
  int64_t experts = 0;       // a layer; 0: none
  int64_t experts_used = 0;  // by a token, the shared one not counted
  int64_t layers = 0;
  int64_t vocabulary = 0;
  int64_t context_trained = 0;  // positions the model was made for

  // An encoder: every token of a text sees all of it, so that a text is one step, and nothing is
  // written: there is no output, and no final norm.
  bool sees_later = false;
  Pooling pooling = Pooling::kLast;

  Matrix embedding;  // [vocabulary, width]
  float embedding_scale = 1;
  Matrix positions;                // [context_trained or more, width], added to it; empty: none
  const float* segment = nullptr;  // [width], added to every token; null: none
  Norm embedding_norm;             // of that sum
  float residual_scale = 1;        // of what each stage adds
  std::vector<Rope> ropes;
  std::vector<Stage> stages;  // two a layer
  Norm final_norm;
  Linear output;           // [vocabulary, width]; often the embedding itself; empty: an encoder
  float output_scale = 1;  // positive
  float output_softcap = 0;

  // F32 vectors that the file holds in another type, or that were computed. Addresses stay put.
  std::deque<std::vector<float>> owned;
};

}  // namespace ration
