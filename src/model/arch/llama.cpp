// Llama: SmolLM2, TinyLlama, Llama 2 and 3.x (whose rope factors come as a tensor), Mistral.
#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_llama(const Gguf& file) {
  NetworkReader in(file);
  Network network = in.common();
  in.refuse_window(network);
  network.ropes = {in.rope(network, /*interleaved=*/true)};
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    network.stages.emplace_back(in.attention(network, layer));
    network.stages.emplace_back(in.feed_forward(network, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
