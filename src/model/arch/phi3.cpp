// Phi-3, Phi-3.5, Phi-4-mini: query, key and value in one matrix, gate and up in another, longrope.
//
// Departs: the sliding window that some files name is not applied, as in llama.cpp: converted files
// carry it wrongly, and the models answer better without.
#include "model/arch/arch.h"
#include "model/arch/reader.h"

namespace ration {

Result<Network> load_phi3(const Gguf& file) {
  NetworkReader in(file);
  Network network = in.common();
  network.ropes = {in.rope(network, /*interleaved=*/false)};
  for (int64_t layer = 0; layer < network.layers && !in.failed(); ++layer) {
    network.stages.emplace_back(in.attention(network, layer));
    network.stages.emplace_back(in.feed_forward(network, layer));
  }
  return in.finish(std::move(network));
}

}  // namespace ration
