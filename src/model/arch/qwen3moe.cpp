// Qwen3 with experts: Qwen3's attention, weights of the chosen experts renormalised.
#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_qwen3moe(const Gguf& file) {
  NetworkReader in(file, {"expert_count"});
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/false)};
  const ExpertShape shape{.inner = in.required_int("expert_feed_forward_length", 1, kSizeMax),
                          .renormalised = true};
  in.use_experts(network, shape);
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    AttentionStage attention = in.attention(network, layer);
    in.norm_heads(network, layer, attention);
    network.stages.emplace_back(attention);
    network.stages.emplace_back(in.experts(network, shape, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
