#include "serve/model_card.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/clock.h"
#include "base/format.h"
#include "base/sha256.h"
#include "model/arch/arch.h"
#include "serve/chat_traits.h"
#include "tensor/dtype.h"

namespace ration {
namespace {

int64_t parameters_of(const Gguf& file) {
  int64_t parameters = 0;
  for (const GgufTensor& tensor : file.tensors()) parameters += tensor.rows() * tensor.cols();
  return parameters;
}

std::string main_type_of(const Gguf& file) {
  std::map<DType, size_t> bytes;
  for (const GgufTensor& tensor : file.tensors()) bytes[tensor.dtype] += tensor.bytes.size();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& row) { return row.second; });
  return most == bytes.end() ? "unknown" : std::string(info_of(most->first).name);
}

// Without reading all the weights: by the tensors, and the numbers of the last norm, which every
// training moves.
std::string digest_of(const Gguf& file) {
  std::string text;
  for (const GgufTensor& tensor : file.tensors()) {
    append_format(text, "{} {} {} {}\n", tensor.name, tensor.rows(), tensor.cols(),
                  info_of(tensor.dtype).name);
  }
  if (const GgufTensor* norm = file.find_tensor("output_norm.weight")) {
    text.append(reinterpret_cast<const char*>(norm->bytes.data()), norm->bytes.size());
  }
  const Result<std::string> digest = sha256_of(text);
  return digest ? *digest : std::string(64, '0');
}

}  // namespace

ModelCard make_card(std::vector<std::string> names, const Gguf& file, const Network& network) {
  const Result<std::optional<std::string_view>> source =
      file.find_string("tokenizer.chat_template");
  ModelCard card{.names = std::move(names),
                 .created = unix_seconds(),
                 .family = network.family,
                 .main_type = main_type_of(file),
                 .digest = digest_of(file),
                 .template_source = source && *source ? std::string(**source) : "",
                 .file_bytes = file.file_bytes(),
                 .tensor_bytes = file.tensor_bytes(),
                 .parameters = parameters_of(file),
                 .context_trained = network.context_trained,
                 .width = network.width,
                 .vocabulary = network.vocabulary};
  const ChatTraits traits = chat_traits(card.template_source);
  card.writes = !network.sees_later;
  card.knows_calls = traits.knows_calls;
  card.thinks = traits.thinks();
  return card;
}

Result<ModelCard> read_card(std::vector<std::string> names, const std::filesystem::path& path) {
  const Result<Gguf> file = Gguf::open(path);
  if (!file) return file.error();
  const Result<Network> network = load_network(*file);
  if (!network) return network.error();
  return make_card(std::move(names), *file, *network);
}

}  // namespace ration
