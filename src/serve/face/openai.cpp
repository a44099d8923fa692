#include "serve/face/openai.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/format.h"
#include "base/text.h"
#include "serve/face/face.h"

namespace ration {
namespace {

constexpr float kLeastLogprob = -9999.0f;
constexpr int64_t kMostTokens = int64_t{1} << 31;

Problem read_stream_options(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object");
  reading.stream_options = true;
  for (const auto& [key, item] : value.items()) {
    if (item.is_null()) continue;
    const std::string name = fmt::format("{}.{}", param, key);
    Problem problem;
    if (key == "include_usage") {
      problem = read_bool(name, item, reading.ask.include_usage);
    } else if (key == "include_obfuscation") {
      problem = only(name, item, false);
    } else {
      problem = unknown(name, key, std::array<std::string, 1>{"include_usage"});
    }
    if (problem) return problem;
  }
  return {};
}

Problem read_limit(std::string_view param, const Json& value, std::optional<int64_t>& out) {
  int64_t found = 0;
  if (Problem problem = read_integer(param, value, 1, kMostTokens, found)) return problem;
  out = found;
  return {};
}

constexpr std::array kOpenAiRows{
    Field{"stream_options", read_stream_options},
    Field{"max_tokens", [](auto p, auto& v, auto& r) { return read_limit(p, v, r.max_tokens); }},
    Field{"max_completion_tokens",
          [](auto p, auto& v, auto& r) { return read_limit(p, v, r.max_completion_tokens); }},
    Field{"keep_alive", read_keep_alive},
    // The answer is the same with it and without.
    Field{"cache_prompt",
          [](auto p, auto& v, auto&) {
            bool ignored = false;
            return read_bool(p, v, ignored);
          }},
};

// Without its closing brace.
void append_chat_token(std::string& out, std::string_view bytes, float logprob) {
  out += "{\"token\":";
  append_json_string(out, bytes);
  append_format(out, ",\"logprob\":{:.7g},\"bytes\":[", shown_logprob(logprob));
  for (size_t i = 0; i < bytes.size(); ++i) {
    append_format(out, "{}{}", i ? "," : "", static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

}  // namespace

const Fields kOpenAiFields = kOpenAiRows;

Problem read_effort(std::string_view param, const Json& value, Reading& reading) {
  for (std::string_view known : {"none", "minimal", "low", "medium", "high", "xhigh", "max"}) {
    if (value != known) continue;
    reading.ask.thinking.effort = known;
    reading.ask.thinking.param = param;
    return {};
  }
  return wrong(param, value, "none, minimal, low, medium, high, xhigh or max");
}

Problem check_openai(Reading& reading) {
  if (reading.stream_options && !reading.ask.stream) {
    return conflict("stream_options", "only for an answer with \"stream\": true");
  }
  if (reading.max_tokens && reading.max_completion_tokens &&
      *reading.max_tokens != *reading.max_completion_tokens) {
    return conflict("max_tokens",
                    fmt::format("found {} and max_completion_tokens {}, wanted one of them",
                                *reading.max_tokens, *reading.max_completion_tokens));
  }
  reading.ask.tokens_max = reading.max_tokens ? reading.max_tokens : reading.max_completion_tokens;
  return {};
}

std::string_view openai_finish(Ending ending) {
  switch (ending) {
    case Ending::kLength:
      return "length";
    case Ending::kCalls:
      return "tool_calls";
    default:
      return "stop";
  }
}

float shown_logprob(float logprob) {
  return std::isfinite(logprob) ? std::max(logprob, kLeastLogprob) : kLeastLogprob;
}

void append_openai_usage(std::string& out, int64_t prompt_tokens, const Bill& bill) {
  append_format(out,
                "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},"
                "\"prompt_tokens_details\":{{\"cached_tokens\":{}}},\"ration\":",
                prompt_tokens, bill.generated_tokens, prompt_tokens + bill.generated_tokens,
                std::min(prompt_tokens, bill.cached_tokens));
  append_json(out, bill);
  out += '}';
}

void append_token_list(std::string& out, std::span<const TokenReport> tokens) {
  out += '[';
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i) out += ',';
    append_chat_token(out, tokens[i].bytes, tokens[i].logprob);
    out += ",\"top_logprobs\":[";
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j) out += ',';
      append_chat_token(out, tokens[i].top[j].bytes, tokens[i].top[j].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += ']';
}

std::string openai_error(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  append_json_string(out, error.message);
  out += ",\"type\":";
  append_json_string(out, error.type);
  out += ",\"param\":";
  if (error.param.empty()) {
    out += "null";
  } else {
    append_json_string(out, error.param);
  }
  out += ",\"code\":";
  append_json_string(out, error.code);
  const auto append_shortfall = [&](const std::optional<Shortfall>& shortfall,
                                    std::string_view unit) {
    if (!shortfall) return;
    append_format(out, ",\"needed_{0}\":{1},\"available_{0}\":{2}", unit, shortfall->wanted,
                  shortfall->available);
  };
  append_shortfall(error.bytes, "bytes");
  append_shortfall(error.tokens, "tokens");
  out += "}}";
  return out;
}

// The object of /v1/models.
std::string openai_model(const ModelView& model) {
  const ModelCard& card = model.card;
  std::string out = "{\"id\":";
  append_json_string(out, card.names.front());
  append_format(
      out,
      ",\"object\":\"model\",\"created\":{},\"owned_by\":\"ration\",\"status\":{{\"value\":"
      "\"{}\"}},\"meta\":{{\"family\":\"{}\",\"n_ctx\":{},\"n_ctx_train\":{},\"n_vocab\":{},"
      "\"n_embd\":{},\"n_params\":{},\"size\":{}}}}}",
      card.created, model.status, card.family,
      model.context > 0 ? std::to_string(model.context) : "null", card.context_trained,
      card.vocabulary, card.width, card.parameters, card.tensor_bytes.count);
  return out;
}

std::string openai_models(std::span<const ModelView> models) {
  std::string rows;
  for (const ModelView& model : models) rows += (rows.empty() ? "" : ",") + openai_model(model);
  return fmt::format("{{\"object\":\"list\",\"data\":[{}]}}", rows);
}

const Face kOpenAiPage{.error = openai_error};

}  // namespace ration
