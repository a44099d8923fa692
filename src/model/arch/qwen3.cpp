// Qwen3 (dense): each query and key head is normalised before the rotation; head size is its own
// key.
#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_qwen3(const Gguf& file) {
  NetworkReader in(file);
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/false)};
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    AttentionStage attention = in.attention(network, layer);
    in.norm_heads(network, layer, attention);
    network.stages.emplace_back(attention);
    network.stages.emplace_back(in.feed_forward(network, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
