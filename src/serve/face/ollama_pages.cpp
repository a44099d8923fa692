// What Ollama's API tells of models: GET /api/tags, /api/ps, /api/version, POST /api/show.
#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "serve/face/ollama.h"
#include "serve/fields.h"

namespace ration {
namespace {

constexpr int64_t kForEver = int64_t{100} * 365 * 24 * 3600;  // seconds

// "494M", "1.54B"
std::string short_count(int64_t count) {
  const auto value = static_cast<double>(count);
  if (value >= 1e9) return fmt::format("{:.2f}B", value / 1e9);
  if (value >= 1e6) return fmt::format("{:.0f}M", value / 1e6);
  return fmt::format("{:.0f}K", value / 1e3);
}

std::string details_of(const ModelCard& card) {
  return fmt::format(
      "{{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"{0}\",\"families\":[\"{0}\"],"
      "\"parameter_size\":\"{1}\",\"quantization_level\":\"{2}\"}}",
      card.family, short_count(card.parameters), card.main_type);
}

// A model in a list, up to what only some lists say.
std::string row_of(const ModelCard& card, Bytes size) {
  std::string name;
  append_json_string(name, card.names.front());
  return fmt::format("{{\"name\":{0},\"model\":{0},\"size\":{1},\"digest\":\"{2}\",\"details\":{3}",
                     name, size.count, card.digest, details_of(card));
}

// {"models":[...]}
std::string list_of(const std::vector<std::string>& rows) {
  return fmt::format("{{\"models\":[{}]}}", fmt::join(rows, ","));
}

std::variant<std::string, ApiError> show(std::string_view body, std::span<const ModelView> models) {
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
  const std::variant<const ModelView*, ApiError> found = find_model(wanted, models);
  if (const ApiError* error = std::get_if<ApiError>(&found)) return *error;
  const ModelCard& card = std::get<const ModelView*>(found)->card;
  std::string words;
  append_json_string(words, card.template_source);
  std::string capabilities = card.writes ? "\"completion\"" : "\"embedding\"";
  if (card.knows_calls) capabilities += ",\"tools\"";
  if (card.thinks) capabilities += ",\"thinking\"";
  return fmt::format(
      "{{\"modelfile\":\"\",\"parameters\":\"\",\"template\":{0},\"modified_at\":\"{1}\","
      "\"details\":{2},\"model_info\":{{\"general.architecture\":\"{3}\","
      "\"general.parameter_count\":{4},\"{3}.context_length\":{5},\"{3}.embedding_length\":{6},"
      "\"{3}.vocab_size\":{7}}},\"capabilities\":[{8}]}}\n",
      words, ollama_time(card.created), details_of(card), card.family, card.parameters,
      card.context_trained, card.width, card.vocabulary, capabilities);
}

}  // namespace

std::string ollama_tags(std::span<const ModelView> models) {
  std::vector<std::string> rows;
  for (const ModelView& model : models) {
    rows.push_back(fmt::format("{},\"modified_at\":\"{}\"}}",
                               row_of(model.card, model.card.file_bytes),
                               ollama_time(model.card.created)));
  }
  return list_of(rows);
}

std::string ollama_running(std::span<const ModelView> models) {
  std::vector<std::string> rows;
  for (const ModelView& model : models) {
    if (model.context == 0) continue;
    rows.push_back(fmt::format("{},\"expires_at\":\"{}\",\"size_vram\":0,\"context_length\":{}}}",
                               row_of(model.card, model.bytes),
                               ollama_time(unix_seconds() + model.expires_in.value_or(kForEver)),
                               model.context));
  }
  return list_of(rows);
}

std::string ollama_version(std::span<const ModelView>) {
  return fmt::format("{{\"version\":\"{}\"}}", RATION_VERSION);
}

const Face kOllamaPage{.error = ollama_error};
const Face kOllamaShow{.error = ollama_error, .tell = show};

}  // namespace ration
