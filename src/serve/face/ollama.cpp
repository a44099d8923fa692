// Ollama's own API: POST /api/chat and /api/generate.
#include "serve/face/ollama.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "serve/face/face.h"
#include "serve/messages.h"

namespace ration {
namespace {

constexpr int64_t kWindowMax = 65536;  // of the repetition penalty

// ---------------------------------------------------------------------------------------- options

Problem read_num_ctx(std::string_view param, const Json& value, Reading& reading) {
  int64_t tokens = 0;
  if (Problem problem =
          read_integer(param, value, 1, std::numeric_limits<int32_t>::max(), tokens)) {
    return problem;
  }
  if (tokens <= reading.defaults.context) return {};
  return unsupported(param, fmt::format("found {}, but the server was started with a context of "
                                        "{} tokens",
                                        tokens, reading.defaults.context));
}

// -1 and -2: until the model ends the answer or the context is full.
Problem read_num_predict(std::string_view param, const Json& value, Reading& reading) {
  if (value == -1 || value == -2) return {};
  return read_tokens_max(param, value, reading);
}

Problem read_repeat_last_n(std::string_view param, const Json& value, Reading& reading) {
  int64_t tokens = 0;
  if (Problem problem = read_integer(param, value, -1, kWindowMax, tokens)) return problem;
  const int64_t whole = std::min(kWindowMax, reading.defaults.context);
  reading.ask.sampler.penalty_window = static_cast<int32_t>(tokens < 0 ? whole : tokens);
  return {};
}

constexpr std::array kOptions{
    Field{"num_ctx", read_num_ctx},
    Field{"num_predict", read_num_predict},
    Field{"repeat_last_n", read_repeat_last_n},
    Field{"repeat_penalty",
          [](auto p, auto& v, auto& r) { return read_common("repetition_penalty", p, v, r); }},
    Field{"temperature",
          [](auto p, auto& v, auto& r) { return read_common("temperature", p, v, r); }},
    Field{"seed", [](auto p, auto& v, auto& r) { return read_common("seed", p, v, r); }},
    Field{"stop", read_stops},
    Field{"top_k", [](auto p, auto& v, auto& r) { return read_common("top_k", p, v, r); }},
    Field{"top_p", [](auto p, auto& v, auto& r) { return read_common("top_p", p, v, r); }},
    Field{"min_p", [](auto p, auto& v, auto& r) { return read_common("min_p", p, v, r); }},
    Field{"presence_penalty",
          [](auto p, auto& v, auto& r) { return read_common("presence_penalty", p, v, r); }},
    Field{"frequency_penalty",
          [](auto p, auto& v, auto& r) { return read_common("frequency_penalty", p, v, r); }},
};

// Said once, when the server is started, or not done here.
constexpr std::array<std::string_view, 18> kOptionsRefused{
    "num_batch", "num_gpu",   "main_gpu", "num_thread",   "num_keep",     "use_mmap",
    "use_mlock", "low_vram",  "f16_kv",   "vocab_only",   "logits_all",   "numa",
    "tfs_z",     "typical_p", "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline"};

// ----------------------------------------------------------------------------------------- fields

Problem read_format(std::string_view param, const Json& value, Reading&) {
  if (value == "") return {};
  return unsupported(param, "answers cannot be held to a format");
}

Problem read_think(std::string_view param, const Json& value, Reading& reading) {
  AskedThinking& thinking = reading.ask.thinking;
  thinking.param = param;
  if (value.is_boolean()) {
    thinking.on = value.get<bool>();
    return {};
  }
  for (std::string_view known : {"low", "medium", "high"}) {
    if (value == known) thinking.effort = known;
  }
  if (thinking.effort.empty()) return wrong(param, value, "true, false, low, medium or high");
  return {};
}

Problem no_images(std::string_view param, const Json& value, Reading&) {
  return only(param, value, Json::array());
}

constexpr std::array kOllamaFields{
    Field{"model", [](auto p, auto& v, auto& r) { return read_common("model", p, v, r); }},
    Field{"stream", [](auto p, auto& v, auto& r) { return read_common("stream", p, v, r); }},
    Field{"ration", [](auto p, auto& v, auto& r) { return read_common("ration", p, v, r); }},
    Field{"options", read_ollama_options},
    Field{"keep_alive", read_keep_alive},
    Field{"format", read_format},
    Field{"think", read_think},
    Field{"logprobs", [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.logprobs); }},
    Field{"top_logprobs",
          [](auto p, auto& v, auto& r) {
            return read_integer(p, v, 0, 20, r.top_logprobs.emplace());
          }},
    Field{"truncate", [](auto p, auto& v, auto&) { return only(p, v, false); }},
    Field{"shift", [](auto p, auto& v, auto&) { return only(p, v, false); }},
};

constexpr std::array kChatOnly{
    Field{"messages", read_later},
    Field{"tools", [](auto p, auto& v, auto& r) { return read_tools(p, v, r.ask.tools); }},
};

constexpr std::array kGenerateOnly{
    Field{"prompt", read_later},
    Field{"system", read_later},
    Field{"raw", read_later},
    Field{"images", no_images},
    Field{"context", [](auto p, auto& v, auto&) { return only(p, v, Json::array()); }},
};
constexpr std::array<std::string_view, 3> kGenerateRefused{"suffix", "template", "images"};

// A request without words asks only that the model be there, or go.
Problem read_conversation_of(const Json& body, Ask& ask) {
  const auto messages = body.find("messages");
  if (messages == body.end() || messages->is_null() || *messages == Json::array()) return {};
  return read_messages("messages", *messages, ask.messages_json);
}

Problem read_prompt_of(const Json& body, Ask& ask) {
  const auto text_of = [&](const char* name, std::string& text) -> Problem {
    const auto found = body.find(name);
    if (found == body.end() || found->is_null()) return {};
    return read_text(name, *found, text);
  };
  std::string prompt;
  std::string system;
  bool raw = false;
  if (Problem problem = text_of("prompt", prompt)) return problem;
  if (Problem problem = text_of("system", system)) return problem;
  if (const auto found = body.find("raw"); found != body.end() && !found->is_null()) {
    if (Problem problem = read_bool("raw", *found, raw)) return problem;
  }
  if (prompt.empty()) return {};
  if (raw) {
    if (!system.empty()) return conflict("system", "not together with \"raw\": true");
    ask.prompts.emplace_back(std::move(prompt));
    return {};
  }
  Json messages = Json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", std::move(system)}});
  messages.push_back({{"role", "user"}, {"content", std::move(prompt)}});
  ask.messages_json = to_text(messages);
  return {};
}

std::variant<Ask, ApiError> read_ollama(std::string_view body, const AskDefaults& defaults,
                                        bool chats) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  const Json& object = std::get<Json>(parsed);
  Reading reading{.ask = {.sampler = defaults.sampler, .stream = true}, .defaults = defaults};
  Problem problem =
      chats ? read_fields(object, "", {kOllamaFields, kChatOnly}, {}, reading)
            : read_fields(object, "", {kOllamaFields, kGenerateOnly}, kGenerateRefused, reading);
  if (!problem && reading.top_logprobs && !reading.ask.logprobs) {
    problem = conflict("top_logprobs", "only with \"logprobs\": true");
  }
  if (!problem) {
    problem =
        chats ? read_conversation_of(object, reading.ask) : read_prompt_of(object, reading.ask);
  }
  if (problem) return std::move(*problem);
  reading.ask.sampler.top_logprobs = static_cast<int32_t>(reading.top_logprobs.value_or(0));
  return finish_reading(reading);
}

}  // namespace

Problem read_ollama_options(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object");
  return read_fields(value, fmt::format("{}.", param), {kOptions}, kOptionsRefused, reading);
}

const Face kOllamaChat{
    .error = ollama_error,
    .read = [](std::string_view body,
               const AskDefaults& defaults) { return read_ollama(body, defaults, true); },
    .writer = write_ollama_chat};

const Face kOllamaGenerate{
    .error = ollama_error,
    .read = [](std::string_view body,
               const AskDefaults& defaults) { return read_ollama(body, defaults, false); },
    .writer = write_ollama_text};

}  // namespace ration
