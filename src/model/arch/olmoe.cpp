// OLMoE: queries and keys normalised over all heads at once, weights of the chosen experts as the
// softmax over all of them gives them.
#include <fmt/core.h>

#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_olmoe(const Gguf& file) {
  NetworkReader in(file, {"expert_count"});
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/false)};
  const ExpertShape shape{.inner = network.inner};
  in.use_experts(network, shape);
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    AttentionStage attention = in.attention(network, layer);
    attention.query_norm =
        in.norm(network, block + "attn_q_norm", network.heads * network.head_size);
    attention.key_norm =
        in.norm(network, block + "attn_k_norm", network.kv_heads * network.head_size);
    attention.norms_span_heads = true;
    network.stages.emplace_back(attention);
    network.stages.emplace_back(in.experts(network, shape, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
