// model/arch/arch.h - the model families: one file each, one row each in arch.cpp's table.
//
// To add a family: copy llama.cpp, read its keys and tensors with a TensorReader, add a row.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "model/gguf.h"
#include "model/network.h"

namespace ration {

struct Family {
  std::string_view name;  // general.architecture
  Result<Network> (*load)(const Gguf& file);
  std::string_view summary;
};

std::span<const Family> families();

// Reads the network of `file`. The result borrows from the mapping: the file must outlive it.
// kUnsupported names the unknown architecture, tensor, or rope scaling; kCorrupt the missing or
// misshapen key or tensor.
Result<Network> load_network(const Gguf& file);

Result<Network> load_llama(const Gguf& file);
Result<Network> load_qwen2(const Gguf& file);
Result<Network> load_qwen3(const Gguf& file);
Result<Network> load_gemma3(const Gguf& file);
Result<Network> load_phi3(const Gguf& file);
Result<Network> load_qwen2moe(const Gguf& file);
Result<Network> load_qwen3moe(const Gguf& file);
Result<Network> load_olmoe(const Gguf& file);
Result<Network> load_granitemoe(const Gguf& file);
Result<Network> load_bert(const Gguf& file);
Result<Network> load_nomic_bert(const Gguf& file);

}  // namespace ration
