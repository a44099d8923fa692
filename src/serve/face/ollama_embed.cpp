// Ollama's vectors: POST /api/embed, and the older /api/embeddings of one text.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/format.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "serve/face/ollama.h"
#include "serve/face/vectors.h"

namespace ration {
namespace {

Problem read_strings(std::string_view param, const Json& value, Reading& reading) {
  if (value == "" || value == Json::array()) return {};  // only that the model be there
  const auto is_text = [](const Json& item) { return item.is_string(); };
  const bool texts =
      is_text(value) || (value.is_array() && std::all_of(value.begin(), value.end(), is_text));
  if (!texts) return wrong(param, value, "a string or an array of strings");
  return read_texts(param, value, kTextsMax, reading);
}

// What they have in common.
constexpr std::array kOllamaTexts{
    Field{"model", [](auto p, auto& v, auto& r) { return read_common("model", p, v, r); }},
    Field{"ration", [](auto p, auto& v, auto& r) { return read_common("ration", p, v, r); }},
    Field{"keep_alive", read_keep_alive},
    Field{"options", read_ollama_options},
    Field{"truncate",
          [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.vectors->truncates); }},
};
constexpr std::array kEmbedOnly{
    Field{"input", read_strings},
    Field{"dimensions", read_dimensions},
};
constexpr std::array kEmbeddingsOnly{
    Field{"prompt", read_strings},
};

std::variant<Ask, ApiError> read_ollama_texts(std::string_view body, const AskDefaults& defaults,
                                              Fields own) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  Reading reading{.ask = {.vectors = AskedVectors{.truncates = true}, .sampler = defaults.sampler},
                  .defaults = defaults};
  if (Problem problem = read_fields(std::get<Json>(parsed), "", {kOllamaTexts, own}, {}, reading)) {
    return std::move(*problem);
  }
  return finish_reading(reading);
}

class OllamaVectorsWriter final : public VectorsWriter {
 public:
  OllamaVectorsWriter(AnswerHead head, bool several)
      : VectorsWriter(std::move(head)), several_(several) {}

 protected:
  std::string write(std::span<const std::vector<float>> vectors, const Bill& bill) override {
    std::string out;
    if (!several_) {
      out = "{\"embedding\":";
      append_vector(out, vectors.empty() ? std::span<const float>() : vectors.front());
      return out + "}\n";
    }
    out = "{\"model\":";
    append_json_string(out, head_.model);
    out += ",\"embeddings\":[";
    for (size_t i = 0; i < vectors.size(); ++i) {
      if (i) out += ',';
      append_vector(out, cut_vector(vectors[i], head_.vectors.dimensions));
    }
    const auto nanoseconds = [](Millis span) { return static_cast<int64_t>(span.count * 1e6); };
    append_format(out,
                  "],\"total_duration\":{},\"load_duration\":{},\"prompt_eval_count\":{},"
                  "\"ration\":",
                  nanoseconds(bill.queue + bill.load + bill.prefill), nanoseconds(bill.load),
                  head_.prompt_tokens);
    append_json(out, bill);
    return out + "}\n";
  }

 private:
  const bool several_;
};

}  // namespace

const Face kOllamaEmbed{.error = ollama_error,
                        .read =
                            [](std::string_view body, const AskDefaults& defaults) {
                              return read_ollama_texts(body, defaults, kEmbedOnly);
                            },
                        .writer = [](AnswerHead head) -> std::unique_ptr<AnswerWriter> {
                          return std::make_unique<OllamaVectorsWriter>(std::move(head),
                                                                       /*several=*/true);
                        }};

const Face kOllamaEmbeddings{.error = ollama_error,
                             .read =
                                 [](std::string_view body, const AskDefaults& defaults) {
                                   return read_ollama_texts(body, defaults, kEmbeddingsOnly);
                                 },
                             .writer = [](AnswerHead head) -> std::unique_ptr<AnswerWriter> {
                               return std::make_unique<OllamaVectorsWriter>(std::move(head),
                                                                            /*several=*/false);
                             }};

}  // namespace ration
