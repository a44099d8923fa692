#include "model/tokenizer/tokenizer.h"

#include <fmt/core.h>

#include "model/tokenizer/family.h"
#include "model/tokenizer/metadata.h"

namespace ration {

namespace {

struct Row {
  std::string_view model;  // tokenizer.ggml.model
  Result<std::unique_ptr<Tokenizer>> (*make)(const TokenizerMetadata&);
};
constexpr Row kFamilies[] = {
    {"gpt2", make_bpe},  {"gemma4", make_bpe}, {"whitespace", make_bpe},
    {"llama", make_spm}, {"bert", make_wpm},   {"t5", make_ugm},
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_tokenizer(const TokenizerMetadata& metadata) {
  std::string known;
  for (const Row& row : kFamilies) {
    if (row.model == metadata.model) {
      if (Status status = check_metadata(metadata); !status) return status.error();
      return row.make(metadata);
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.model);
  }
  return Error{Code::kUnsupported, fmt::format("tokenizer.ggml.model: found '{}', wanted one of {}",
                                               metadata.model, known)};
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::make(const Gguf& file) {
  Result<TokenizerMetadata> metadata = read_metadata(file);
  if (!metadata) return metadata.error();
  return make_tokenizer(*metadata);
}

}  // namespace ration
