// Qwen2 and Qwen2.5: Llama's stages with biases on query, key and value, and the neox rotation.
#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_qwen2(const Gguf& file) {
  NetworkReader in(file);
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/false)};
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    network.stages.emplace_back(in.biased_attention(network, layer));
    network.stages.emplace_back(in.feed_forward(network, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
