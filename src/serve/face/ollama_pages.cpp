// What Ollama's API tells of the model: GET /api/tags, /api/ps, /api/version, POST /api/show.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "base/sha256.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "serve/face/ollama.h"
#include "serve/fields.h"
#include "tensor/dtype.h"

namespace ration {
namespace {

constexpr int64_t kForEver = int64_t{100} * 365 * 24 * 3600;  // seconds; the model is not let go

// "494M", "1.54B"
std::string short_count(int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.2f}B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.0f}M", value / 1e6);
  return fmt::format("{:.0f}K", value / 1e3);
}

int64_t parameters_of(const Gguf& file) {
  int64_t parameters = 0;
  for (const GgufTensor& tensor : file.tensors()) parameters += tensor.rows() * tensor.cols();
  return parameters;
}

// The type that most of the weights have.
std::string_view main_type(const Gguf& file) {
  std::map<DType, size_t> bytes;
  for (const GgufTensor& tensor : file.tensors()) bytes[tensor.dtype] += tensor.bytes.size();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& row) { return row.second; });
  return most == bytes.end() ? "unknown" : info_of(most->first).name;
}

// Tells files apart without reading all their weights: by their tensors, and the numbers of the
// last norm, which every training moves.
std::string digest_of(const Gguf& file) {
  std::string text;
  for (const GgufTensor& tensor : file.tensors()) {
    fmt::format_to(std::back_inserter(text), "{} {} {} {}\n", tensor.name, tensor.rows(),
                   tensor.cols(), info_of(tensor.dtype).name);
  }
  if (const GgufTensor* norm = file.find_tensor("output_norm.weight")) {
    text.append(reinterpret_cast<const char*>(norm->bytes.data()), norm->bytes.size());
  }
  const Result<std::string> digest = sha256_of(text);
  return digest ? *digest : std::string(64, '0');
}

std::string details_of(const ServedModel& served) {
  const Gguf& file = served.model.file();
  const std::string& family = served.model.network().family;
  return fmt::format(
      "{{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"{0}\",\"families\":[\"{0}\"],"
      "\"parameter_size\":\"{1}\",\"quantization_level\":\"{2}\"}}",
      family, short_count(parameters_of(file)), main_type(file));
}

// A model in a list, up to what only some lists say.
std::string row_of(const ServedModel& served) {
  std::string name;
  append_json_string(name, served.names.front());
  return fmt::format("{{\"name\":{0},\"model\":{0},\"size\":{1},\"digest\":\"{2}\",\"details\":{3}",
                     name, served.model.file().file_bytes().count, digest_of(served.model.file()),
                     details_of(served));
}

std::variant<std::string, ApiError> show(std::string_view body, const ServedModel& served) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  std::string wanted;
  for (const auto& [key, value] : std::get<Json>(parsed).items()) {
    Problem problem;
    if (key == "model" || key == "name") {
      problem = read_text(key, value, wanted);
    } else if (key == "verbose") {  // the lists that it would add are the file's own
      problem = only(key, value, false);
    } else {
      problem = unknown(key, key, std::vector<std::string>{"model", "verbose"});
    }
    if (problem) return std::move(*problem);
  }
  if (!is_model_name(wanted, served.names)) return unknown_model(wanted, served.names);
  const Gguf& file = served.model.file();
  const Network& network = served.model.network();
  const Result<std::optional<std::string_view>> source =
      file.find_string("tokenizer.chat_template");
  std::string words;
  append_json_string(words, source && *source ? **source : std::string_view());
  std::string capabilities = "\"completion\"";
  if (served.traits.knows_calls) capabilities += ",\"tools\"";
  if (served.traits.thinks()) capabilities += ",\"thinking\"";
  return fmt::format(
      "{{\"modelfile\":\"\",\"parameters\":\"\",\"template\":{0},\"modified_at\":\"{1}\","
      "\"details\":{2},\"model_info\":{{\"general.architecture\":\"{3}\","
      "\"general.parameter_count\":{4},\"{3}.context_length\":{5},\"{3}.embedding_length\":{6},"
      "\"{3}.vocab_size\":{7}}},\"capabilities\":[{8}]}}\n",
      words, ollama_time(served.created), details_of(served), network.family, parameters_of(file),
      network.context_trained, network.width, network.vocabulary, capabilities);
}

}  // namespace

std::string ollama_tags(const ServedModel& served) {
  return fmt::format("{{\"models\":[{},\"modified_at\":\"{}\"}}]}}", row_of(served),
                     ollama_time(served.created));
}

std::string ollama_running(const ServedModel& served) {
  return fmt::format(
      "{{\"models\":[{},\"expires_at\":\"{}\",\"size_vram\":0,\"context_length\":{}}}]}}",
      row_of(served), ollama_time(served.created + kForEver), served.context);
}

std::string ollama_version(const ServedModel&) {
  return fmt::format("{{\"version\":\"{}\"}}", RATION_VERSION);
}

const Face kOllamaPage{.error = ollama_error};
const Face kOllamaShow{.error = ollama_error, .reply = show};

}  // namespace ration
