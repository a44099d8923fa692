// Granite 3 with experts: Llama's attention, and four scales: of the embedding, of what every stage
// adds to the residual, of the attention's scores, and of the logits, which are divided by theirs.
#include <fmt/core.h>

#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_granitemoe(const Gguf& file) {
  NetworkReader in(file, {"expert_count", "attention.scale", "embedding_scale", "residual_scale",
                          "logit_scale"});
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/true)};
  // A scale of 0, too, says that there is none.
  const auto scale_or = [&](std::string_view key, float fallback) {
    const auto scale = static_cast<float>(in.float_or(key, 0));
    return scale == 0 ? fallback : scale;
  };
  network.embedding_scale = scale_or("embedding_scale", 1);
  network.residual_scale = scale_or("residual_scale", 1);
  const float logit_scale = scale_or("logit_scale", 0);
  if (!(logit_scale > 0)) {
    in.fail({Code::kCorrupt, "key 'granitemoe.logit_scale' is missing or not positive"});
  }
  network.output_scale = 1 / logit_scale;
  const ExpertShape shape{
      .inner = network.inner,
      .shared_inner = in.int_or("expert_shared_feed_forward_length", 0, 0, kSizeMax),
      .renormalised = true};
  in.use_experts(network, shape);
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    AttentionStage attention = in.attention(network, layer);
    attention.scale = scale_or("attention.scale", attention.scale);
    network.stages.emplace_back(attention);
    network.stages.emplace_back(in.experts(network, shape, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
