// Llama: SmolLM2, TinyLlama, Llama 2 and 3.x (whose rope factors come as a tensor), Mistral; and
// Mixtral, whose feed-forward layers are experts.
#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_llama(const Gguf& file) {
  NetworkReader in(file, {"expert_count"});
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/true)};
  const ExpertShape shape{.inner = network.inner, .renormalised = true};
  const bool has_experts = in.int_or("expert_count", 0, 0, 1 << 16) > 0;
  if (has_experts) in.use_experts(network, shape);
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    network.stages.emplace_back(in.attention(network, layer));
    if (has_experts) {
      network.stages.emplace_back(in.experts(network, shape, layer));
    } else {
      network.stages.emplace_back(in.feed_forward(network, layer));
    }
  }
  return in.finish(std::move(network));
}

}  // namespace ration
