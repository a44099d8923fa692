// Vectors of texts: POST /v1/embeddings as OpenAI has it; and POST /rerank, as Jina's and Cohere's
// clients write it, by the cosines of vectors.
#include "serve/face/vectors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/format.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "serve/face/openai.h"

namespace ration {
namespace {

constexpr int64_t kDimensionsMax = 1 << 20;
// ------------------------------------------------------------------------------------- embeddings

Problem read_encoding(std::string_view param, const Json& value, Reading& reading) {
  if (value != "float" && value != "base64") return wrong(param, value, "float or base64");
  reading.ask.vectors->base64 = value == "base64";
  return {};
}

constexpr std::array kEmbeddingFields{
    Field{"model", [](auto p, auto& v, auto& r) { return read_common("model", p, v, r); }},
    Field{"input", [](auto p, auto& v, auto& r) { return read_texts(p, v, kTextsMax, r); }},
    Field{"encoding_format", read_encoding},
    Field{"dimensions", read_dimensions},
    Field{"user", [](auto p, auto& v, auto& r) { return read_common("user", p, v, r); }},
    Field{"ration", [](auto p, auto& v, auto& r) { return read_common("ration", p, v, r); }},
    Field{"keep_alive", read_keep_alive},
};

std::variant<Ask, ApiError> read_vectors(std::string_view body, const AskDefaults& defaults,
                                         Fields fields, std::span<const std::string_view> refused,
                                         Problem (*check)(const Json& object, Reading& reading)) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  const Json& object = std::get<Json>(parsed);
  Reading reading{.ask = {.vectors = AskedVectors{}, .sampler = defaults.sampler},
                  .defaults = defaults};
  Problem problem = read_fields(object, "", {fields}, refused, reading);
  if (!problem) problem = check(object, reading);
  if (problem) return std::move(*problem);
  return finish_reading(reading);
}

std::variant<Ask, ApiError> read_embeddings(std::string_view body, const AskDefaults& defaults) {
  return read_vectors(body, defaults, kEmbeddingFields, {},
                      [](const Json&, Reading& reading) -> Problem {
                        if (reading.ask.prompts.empty()) return missing("input", kWantedTexts);
                        return {};
                      });
}

// Little-endian F32, as OpenAI's clients ask for unless told otherwise.
void append_base64(std::string& out, std::span<const float> vector) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto bytes = std::as_bytes(vector);
  const auto at = [&](size_t i) {
    return i < bytes.size() ? std::to_integer<uint32_t>(bytes[i]) : 0u;
  };
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const uint32_t three = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    out += kLetters[three >> 18];
    out += kLetters[three >> 12 & 63];
    out += i + 1 < bytes.size() ? kLetters[three >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kLetters[three & 63] : '=';
  }
}

// {"prompt_tokens":9,"total_tokens":9,"ration":the bill}
void append_text_usage(std::string& out, int64_t tokens, const Bill& bill) {
  append_format(out, "\"usage\":{{\"prompt_tokens\":{0},\"total_tokens\":{0},\"ration\":", tokens);
  append_json(out, bill);
  out += '}';
}

class EmbeddingsWriter final : public VectorsWriter {
 public:
  using VectorsWriter::VectorsWriter;

 protected:
  std::string write(std::span<const std::vector<float>> vectors, const Bill& bill) override {
    std::string out = "{\"object\":\"list\",\"data\":[";
    for (size_t i = 0; i < vectors.size(); ++i) {
      append_format(out, "{}{{\"object\":\"embedding\",\"index\":{},\"embedding\":", i ? "," : "",
                    i);
      const std::vector<float> vector = cut_vector(vectors[i], head_.vectors.dimensions);
      if (head_.vectors.base64) {
        out += '"';
        append_base64(out, vector);
        out += '"';
      } else {
        append_vector(out, vector);
      }
      out += '}';
    }
    out += "],\"model\":";
    append_json_string(out, head_.model);
    out += ',';
    append_text_usage(out, head_.prompt_tokens, bill);
    return out + "}\n";
  }
};

// ----------------------------------------------------------------------------------------- rerank

// Strings, or objects with a text, as Jina and Cohere have them.
Problem read_documents(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_array() || value.empty()) return wrong(param, value, "an array of texts");
  if (static_cast<int64_t>(value.size()) >= kTextsMax) {
    return wrong(param, value, fmt::format("at most {} texts", kTextsMax - 1));
  }
  for (size_t i = 0; i < value.size(); ++i) {
    const Json& item = value[i];
    const bool wraps = item.is_object() && item.contains("text");
    const Json& text = wraps ? item["text"] : item;
    if (!text.is_string()) {
      return wrong(fmt::format("{}[{}]", param, i), item, "a text, or an object with one");
    }
    reading.ask.prompts.emplace_back(text.get<std::string>());
    reading.ask.vectors->documents.push_back(text.get<std::string>());
  }
  return {};
}

constexpr std::array kRerankFields{
    Field{"model", [](auto p, auto& v, auto& r) { return read_common("model", p, v, r); }},
    Field{"query", read_later},
    Field{"documents", read_documents},
    Field{"top_n",
          [](auto p, auto& v, auto& r) {
            return read_integer(p, v, 1, kTextsMax, r.ask.vectors->top_n.emplace());
          }},
    Field{
        "return_documents",
        [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.vectors->returns_documents); }},
    Field{"truncation",
          [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.vectors->truncates); }},
    Field{"user", [](auto p, auto& v, auto& r) { return read_common("user", p, v, r); }},
    Field{"ration", [](auto p, auto& v, auto& r) { return read_common("ration", p, v, r); }},
    Field{"keep_alive", read_keep_alive},
};
constexpr std::array<std::string_view, 4> kRerankRefused{"rank_fields", "max_chunks_per_doc",
                                                         "max_tokens_per_doc", "max_doc_length"};

std::variant<Ask, ApiError> read_rerank(std::string_view body, const AskDefaults& defaults) {
  return read_vectors(body, defaults, kRerankFields, kRerankRefused,
                      [](const Json& object, Reading& reading) -> Problem {
                        Ask& ask = reading.ask;
                        const auto query = object.find("query");
                        if (query == object.end() || query->is_null())
                          return missing("query", "a text");
                        std::string text;
                        if (Problem problem = read_text("query", *query, text)) return problem;
                        if (ask.prompts.empty()) return missing("documents", "an array of texts");
                        ask.prompts.insert(ask.prompts.begin(), AskedPrompt(std::move(text)));
                        if (!ask.vectors->returns_documents) ask.vectors->documents.clear();
                        return {};
                      });
}

class RerankWriter final : public VectorsWriter {
 public:
  using VectorsWriter::VectorsWriter;

 protected:
  // The first vector is the query's.
  std::string write(std::span<const std::vector<float>> vectors, const Bill& bill) override {
    std::vector<double> scores;
    for (size_t i = 1; i < vectors.size(); ++i) {
      scores.push_back(
          std::inner_product(vectors[i].begin(), vectors[i].end(), vectors[0].begin(), 0.0));
    }
    std::vector<size_t> order(scores.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, [&](size_t a, size_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    const auto most = static_cast<size_t>(head_.vectors.top_n.value_or(kTextsMax));
    std::string out = "{\"object\":\"list\",\"model\":";
    append_json_string(out, head_.model);
    out += ",\"results\":[";
    for (size_t i = 0; i < std::min(most, order.size()); ++i) {
      append_format(out, "{}{{\"index\":{},\"relevance_score\":{:.7g}", i ? "," : "", order[i],
                    scores[order[i]]);
      if (!head_.vectors.documents.empty()) {
        out += ",\"document\":{\"text\":";
        append_json_string(out, head_.vectors.documents[order[i]]);
        out += '}';
      }
      out += '}';
    }
    out += "],";
    append_text_usage(out, head_.prompt_tokens, bill);
    return out + "}\n";
  }
};

template <class Writer>
std::unique_ptr<AnswerWriter> write_vectors(AnswerHead head) {
  return std::make_unique<Writer>(std::move(head));
}

}  // namespace

Problem read_dimensions(std::string_view param, const Json& value, Reading& reading) {
  return read_integer(param, value, 1, kDimensionsMax, reading.ask.vectors->dimensions.emplace());
}

std::vector<float> cut_vector(std::span<const float> vector,
                              const std::optional<int64_t>& dimensions) {
  std::vector<float> cut(vector.begin(), vector.end());
  if (!dimensions || static_cast<size_t>(*dimensions) >= cut.size()) return cut;
  cut.resize(static_cast<size_t>(*dimensions));
  const double squares = std::inner_product(cut.begin(), cut.end(), cut.begin(), 0.0);
  const double factor = squares > 0 ? 1 / std::sqrt(squares) : 0;
  for (float& number : cut) number = static_cast<float>(static_cast<double>(number) * factor);
  return cut;
}

void append_vector(std::string& out, std::span<const float> vector) {
  append_format(out, "[{}]", fmt::join(vector, ","));
}

const Face kOpenAiEmbeddings{
    .error = openai_error, .read = read_embeddings, .writer = write_vectors<EmbeddingsWriter>};
const Face kRerank{
    .error = openai_error, .read = read_rerank, .writer = write_vectors<RerankWriter>};

}  // namespace ration
