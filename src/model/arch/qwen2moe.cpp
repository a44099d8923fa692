// Qwen1.5 and Qwen2 with experts: Qwen2's attention; one expert more that sees every token,
// weighted by a sigmoid of its own. The other weights are not renormalised.
#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_qwen2moe(const Gguf& file) {
  NetworkReader in(file, {"expert_count"});
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/false)};
  const ExpertShape shape{
      .inner = in.required_int("expert_feed_forward_length", 1, kSizeMax),
      .shared_inner = in.int_or("expert_shared_feed_forward_length", network.inner, 1, kSizeMax),
      .shared_router = true};
  in.use_experts(network, shape);
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    network.stages.emplace_back(in.biased_attention(network, layer));
    network.stages.emplace_back(in.experts(network, shape, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
