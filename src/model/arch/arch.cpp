#include "model/arch/arch.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <vector>

#include "base/text.h"

namespace ration {
namespace {

constexpr std::array kFamilies{
    Family{"llama", load_llama, "SmolLM2, TinyLlama, Llama 2 and 3, Mistral, Mixtral"},
    Family{"qwen2", load_qwen2, "Qwen2, Qwen2.5"},
    Family{"qwen3", load_qwen3, "Qwen3, dense"},
    Family{"gemma3", load_gemma3, "Gemma 3, text"},
    Family{"phi3", load_phi3, "Phi-3, Phi-3.5, Phi-4-mini"},
    Family{"qwen2moe", load_qwen2moe, "Qwen1.5 and Qwen2 with experts"},
    Family{"qwen3moe", load_qwen3moe, "Qwen3 with experts"},
    Family{"olmoe", load_olmoe, "OLMoE"},
    Family{"granitemoe", load_granitemoe, "Granite 3 with experts"},
    Family{"bert", load_bert, "BERT: all-MiniLM, BGE, E5, GTE; for embeddings"},
    Family{"nomic-bert", load_nomic_bert, "Nomic Embed; for embeddings"},
};

}  // namespace

std::span<const Family> families() { return kFamilies; }

Result<Network> load_network(const Gguf& file) {
  Result<std::string_view> architecture = file.get_string("general.architecture");
  if (!architecture) return architecture.error();
  std::vector<std::string> names;
  for (const Family& family : kFamilies) {
    if (family.name == *architecture) return family.load(file);
    names.emplace_back(family.name);
  }
  return Error{Code::kUnsupported,
               fmt::format("{}: found architecture '{}', wanted one of {}", file.path().string(),
                           *architecture, fmt::join(names, ", "))};
}

}  // namespace ration
