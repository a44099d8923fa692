// BERT: all-MiniLM, BGE, E5, GTE, Arctic Embed; and Nomic Embed, which rotates and has a gate. An
// encoder: the norms stand behind what they close, and every token sees all.
#include <fmt/core.h>

#include "model/arch/arch.h"
#include "model/arch/reader.h"
#include "tensor/kernels.h"

namespace ration {
namespace {

// The embedding of a token is its own, its place's and that of the first segment, normalised.
Network begin_encoder(NetworkReader& in) {
  Network network = in.sizes(Pooling::kMean);
  network.sees_later = true;
  if (in.has_tensor("token_types.weight")) {
    const Matrix segments = in.table("token_types.weight", 1, network.width);
    if (in.failed()) return network;
    std::vector<float>& first = network.owned.emplace_back(static_cast<size_t>(network.width));
    dequantize_row(segments, 0, first.data());
    network.segment = first.data();
  }
  network.embedding_norm = in.layer_norm(network, "token_embd_norm", network.width);
  return network;
}

AttentionStage encoder_attention(NetworkReader& in, Network& network, int64_t layer) {
  AttentionStage stage = in.bare_attention(network, layer);
  stage.closing =
      in.layer_norm(network, fmt::format("blk.{}.attn_output_norm", layer), network.width);
  return stage;
}

FeedForwardStage encoder_feed_forward(NetworkReader& in, Network& network, int64_t layer,
                                      bool gated) {
  const std::string block = fmt::format("blk.{}.", layer);
  FeedForwardStage stage;
  if (gated) stage.gate = in.linear(network, block + "ffn_gate", network.inner, network.width);
  stage.up = in.linear(network, block + "ffn_up", network.inner, network.width);
  stage.down = in.linear(network, block + "ffn_down", network.width, network.inner);
  stage.activation = gated ? Activation::kSilu : Activation::kErfGelu;
  stage.closing = in.layer_norm(network, block + "layer_output_norm", network.width);
  return stage;
}

}  // namespace

Result<Network> load_bert(const Gguf& file) {
  NetworkReader in(file);
  Network network = begin_encoder(in);
  network.positions = in.table("position_embd.weight", network.context_trained, network.width);
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    network.stages.emplace_back(encoder_attention(in, network, layer));
    network.stages.emplace_back(encoder_feed_forward(in, network, layer, /*gated=*/false));
  }
  return in.finish(std::move(network));
}

Result<Network> load_nomic_bert(const Gguf& file) {
  NetworkReader in(file);
  Network network = begin_encoder(in);
  if (!in.failed()) network.ropes = {in.rope(network, /*interleaved=*/false)};
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    network.stages.emplace_back(encoder_attention(in, network, layer));
    network.stages.emplace_back(encoder_feed_forward(in, network, layer, /*gated=*/true));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
