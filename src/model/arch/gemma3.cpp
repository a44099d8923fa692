// Gemma 3 (text): sliding-window layers with a rotation of their own, norms before and after each
// half, GELU gates, embeddings scaled by sqrt(width).
#include <fmt/core.h>

#include <cmath>
#include <string>
#include <vector>

#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {
namespace {

// Every sixth layer sees everything, unless the file says otherwise.
constexpr int64_t kPatternDefault = 6;
// The 27B model (62 layers) scales scores by its width per head, not by its head size.
constexpr int64_t kLayersOf27B = 62;

enum Ropes : size_t { kGlobalRope, kWindowRope };

// Whether each layer has the window: the pattern key is a period, or one flag a layer.
std::vector<bool> windowed_layers(NetworkReader& in, const Gguf& file, const Network& network) {
  const auto layers = static_cast<size_t>(network.layers);
  std::vector<bool> windowed(layers);
  constexpr const char* kKey = "attention.sliding_window_pattern";
  const GgufValue* pattern = file.find("gemma3." + std::string(kKey));
  if (pattern && pattern->type == GgufValue::Type::kArray) {
    const std::vector<int64_t> flags = in.layer_ints(kKey, network.layers);
    for (size_t layer = 0; layer < flags.size() && layer < layers; ++layer) {
      windowed[layer] = flags[layer] != 0;
    }
    return windowed;
  }
  const auto period = static_cast<size_t>(in.int_or(kKey, kPatternDefault, 0, 1 << 20));
  for (size_t layer = 0; layer < layers; ++layer) {
    windowed[layer] = period == 0 || layer % period < period - 1;
  }
  return windowed;
}

}  // namespace

Result<Network> load_gemma3(const Gguf& file) {
  NetworkReader in(file);
  Network network = in.common();
  network.embedding_scale = std::sqrt(static_cast<float>(network.width));
  network.output_softcap = static_cast<float>(in.float_or("final_logit_softcapping", 0));
  network.ropes = {in.rope(network, /*interleaved=*/false, 10000),
                   in.plain_rope(network, false, in.float_or("rope.freq_base_swa", 10000))};
  const int64_t window = in.int_or("attention.sliding_window", 0, 0, int64_t{1} << 31);
  if (in.string_or("rope.scaling.type", "linear") == "yarn") {
    in.fail({Code::kUnsupported, "rope scaling 'yarn' in family gemma3"});
  }
  const std::vector<bool> has_window = windowed_layers(in, file, network);
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    AttentionStage attention = in.attention(network, layer);
    in.norm_heads(network, layer, attention);
    attention.after = in.norm(network, block + "post_attention_norm", network.width);
    const bool windowed = window > 0 && has_window[static_cast<size_t>(layer)];
    attention.window = windowed ? window : 0;
    attention.rope = windowed ? kWindowRope : kGlobalRope;
    if (network.layers == kLayersOf27B) {
      attention.scale = 1 / std::sqrt(static_cast<float>(network.width / network.heads));
    }
    FeedForwardStage feed_forward = in.feed_forward(network, layer);
    feed_forward.activation = Activation::kGelu;
    feed_forward.after = in.norm(network, block + "post_ffw_norm", network.width);
    network.stages.emplace_back(attention);
    network.stages.emplace_back(feed_forward);
  }
  return in.finish(std::move(network));
}

}  // namespace ration
