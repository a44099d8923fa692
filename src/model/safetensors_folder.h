// model/safetensors_folder.h - a model as the Hugging Face libraries keep it, in GGUF's words.
//
// Beside the weights (model.safetensors) the folder holds config.json and vocab.txt and, where they
// differ from what is usual, tokenizer_config.json, and sentence-transformers' modules.json,
// sentence_bert_config.json and 1_Pooling/config.json. Keys and tensors get the names that a GGUF
// file of the same model has, so that nothing else in the house knows the difference.
//
// To add a family: a row of tensor names and a function of keys, as BERT has them. Private to
// gguf.cpp.
#pragma once

#include <cstddef>
#include <deque>
#include <filesystem>
#include <span>
#include <string>

#include "base/result.h"
#include "model/gguf_reader.h"

namespace ration {

struct ImportedModel {
  GgufHeader header;              // its values' bytes lie in `owned`
  std::deque<std::string> owned;  // addresses stay put, also when it is moved
};

// `weights`: the mapped file; the others are looked for in `folder`, each at most a few MiB.
// kNotFound names a file that is missing; kCorrupt and kUnsupported say which file or field:
// another family than BERT, another activation, modules that a vector would have to go through.
Result<ImportedModel> import_safetensors(std::span<const std::byte> weights,
                                         const std::filesystem::path& folder);

}  // namespace ration
