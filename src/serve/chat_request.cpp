#include "serve/chat_request.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "base/text.h"
#include "serve/chat_messages.h"

namespace ration {
namespace {

constexpr int kDepthMax = 32;
constexpr int64_t kValuesMax = 200'000;
constexpr size_t kMessageBytesMax = 300;  // of what the JSON parser says
constexpr size_t kStopsMax = 16;
constexpr size_t kStopBytesMax = 1024;
constexpr int64_t kTokensMax = int64_t{1} << 31;
constexpr double kDeadlineMsMax = 7 * 24 * 3600e3;
constexpr int64_t kTopLogprobs = 20;

// What a request has said so far.
struct Reading {
  ChatRequest out;
  const ChatDefaults& defaults;
  std::optional<int64_t> max_tokens;
  std::optional<int64_t> max_completion_tokens;
  bool top_logprobs = false;
  bool stream_options = false;
  bool messages = false;
};

Problem number(std::string_view param, const Json& value, double least, double most, double& out) {
  if (!value.is_number()) {
    return wrong(param, value, fmt::format("a number from {} to {}", least, most));
  }
  const auto found = value.get<double>();
  if (!(found >= least && found <= most)) {
    return wrong(param, value, fmt::format("a number from {} to {}", least, most));
  }
  out = found;
  return {};
}

Problem number(std::string_view param, const Json& value, double least, double most, float& out) {
  double found = 0;
  if (Problem problem = number(param, value, least, most, found)) return problem;
  out = static_cast<float>(found);
  return {};
}

// 3.0 is an integer too: some clients write all numbers so.
Problem integer(std::string_view param, const Json& value, int64_t least, int64_t most,
                int64_t& out) {
  const auto refused = [&] {
    return wrong(param, value, fmt::format("an integer from {} to {}", least, most));
  };
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return refused();
  }
  if (value.is_number_float()) {
    const auto found = value.get<double>();
    if (std::abs(found) > 0x1p53 || found != std::floor(found)) return refused();
  } else if (!value.is_number()) {
    return refused();
  }
  const auto found = value.get<int64_t>();
  if (found < least || found > most) return refused();
  out = found;
  return {};
}

Problem integer(std::string_view param, const Json& value, int64_t least, int64_t most,
                std::optional<int64_t>& out) {
  int64_t found = 0;
  if (Problem problem = integer(param, value, least, most, found)) return problem;
  out = found;
  return {};
}

Problem boolean(std::string_view param, const Json& value, bool& out) {
  if (!value.is_boolean()) return wrong(param, value, "true or false");
  out = value.get<bool>();
  return {};
}

// A hint for services that we are not: any text will do.
Problem any_text(std::string_view param, const Json& value) {
  if (!value.is_string()) return wrong(param, value, "a string");
  return {};
}

// Only `wanted` is what we do.
Problem only(std::string_view param, const Json& value, const Json& wanted) {
  if (value == wanted) return {};
  return unsupported(
      param, fmt::format("found {}, only {} is supported", describe(value), to_text(wanted)));
}

Problem seed(std::string_view param, const Json& value, std::optional<uint64_t>& out) {
  if (!value.is_number_integer()) return wrong(param, value, "an integer");
  out = value.is_number_unsigned() ? value.get<uint64_t>()
                                   : static_cast<uint64_t>(value.get<int64_t>());
  return {};
}

Problem stop(std::string_view param, const Json& value, std::vector<std::string>& out) {
  const Json list = value.is_string() ? Json::array({value}) : value;
  const std::string wanted =
      fmt::format("a string or at most {} strings of 1 to {} bytes", kStopsMax, kStopBytesMax);
  if (!list.is_array() || list.size() > kStopsMax) return wrong(param, value, wanted);
  for (const Json& item : list) {
    if (!item.is_string()) return wrong(param, item, wanted);
    auto text = item.get<std::string>();
    if (text.empty() || text.size() > kStopBytesMax) return wrong(param, item, wanted);
    out.push_back(std::move(text));
  }
  return {};
}

Problem logit_bias(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object of token ids with numbers");
  for (const auto& [key, bias] : value.items()) {
    Token token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    // "007" would be a second name for 7.
    const bool plain =
        error == std::errc() && end == key.data() + key.size() && std::to_string(token) == key;
    if (!plain || token < 0 || token >= reading.defaults.vocabulary) {
      return wrong(param, Json(key),
                   fmt::format("token ids from 0 to {}", reading.defaults.vocabulary - 1));
    }
    float found = 0;
    if (Problem problem = number(fmt::format("{}.{}", param, key), bias, -100, 100, found)) {
      return problem;
    }
    reading.out.sampler.logit_bias.emplace_back(token, found);
  }
  return {};
}

Problem stream_options(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object");
  reading.stream_options = true;
  for (const auto& [key, item] : value.items()) {
    if (item.is_null()) continue;
    const std::string name = fmt::format("{}.{}", param, key);
    Problem problem;
    if (key == "include_usage") {
      problem = boolean(name, item, reading.out.include_usage);
    } else if (key == "include_obfuscation") {
      problem = only(name, item, false);
    } else {
      problem = unknown(name, key, std::array<std::string, 1>{"include_usage"});
    }
    if (problem) return problem;
  }
  return {};
}

Problem response_format(std::string_view param, const Json& value) {
  if (!value.is_object()) return wrong(param, value, "an object");
  if (value == Json{{"type", "text"}}) return {};
  const auto type = value.find("type");
  return unsupported(param, fmt::format("found the type {}, only \"text\" is supported",
                                        type == value.end() ? "nothing" : describe(*type)));
}

Problem limits(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object");
  for (const auto& [key, item] : value.items()) {
    if (item.is_null()) continue;
    const std::string name = fmt::format("{}.{}", param, key);
    if (key != "max_ms") return unknown(name, key, std::array<std::string, 1>{"max_ms"});
    double ms = 0;
    if (Problem problem = number(name, item, 0, kDeadlineMsMax, ms)) return problem;
    reading.out.deadline = Millis{ms};
  }
  return {};
}

// Variables for the template; what the template is told by us cannot be said by a request.
Problem template_arguments(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object");
  for (const auto& [key, item] : value.items()) {
    for (std::string_view ours :
         {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}) {
      if (key == ours) {
        return unsupported(fmt::format("{}.{}", param, key), "this variable cannot be replaced");
      }
    }
  }
  reading.out.arguments_json = to_text(value);
  return {};
}

struct Field {
  std::string_view name;
  Problem (*read)(std::string_view param, const Json& value, Reading& reading);
};

constexpr std::array kFields{
    Field{"model",
          [](std::string_view param, const Json& value, Reading& reading) -> Problem {
            if (!value.is_string()) return wrong(param, value, "a model's name");
            reading.out.model = value.get<std::string>();
            return {};
          }},
    Field{"messages",
          [](std::string_view param, const Json& value, Reading& reading) {
            reading.messages = true;
            return read_messages(param, value, reading.out.messages_json);
          }},
    Field{"stream", [](auto p, auto& v, auto& r) { return boolean(p, v, r.out.stream); }},
    Field{"stream_options", stream_options},
    Field{"max_tokens",
          [](auto p, auto& v, auto& r) { return integer(p, v, 1, kTokensMax, r.max_tokens); }},
    Field{"max_completion_tokens",
          [](auto p, auto& v, auto& r) {
            return integer(p, v, 1, kTokensMax, r.max_completion_tokens);
          }},
    Field{"temperature",
          [](auto p, auto& v, auto& r) { return number(p, v, 0, 100, r.out.sampler.temperature); }},
    Field{"top_p",
          [](auto p, auto& v, auto& r) { return number(p, v, 0, 1, r.out.sampler.top_p); }},
    Field{"top_k",
          [](auto p, auto& v, auto& r) {
            int64_t k = 0;
            Problem problem = integer(p, v, 0, std::numeric_limits<int32_t>::max(), k);
            r.out.sampler.top_k = static_cast<int32_t>(k);
            return problem;
          }},
    Field{"min_p",
          [](auto p, auto& v, auto& r) { return number(p, v, 0, 1, r.out.sampler.min_p); }},
    Field{"repetition_penalty",
          [](auto p, auto& v, auto& r) {
            return number(p, v, 0.01, 100, r.out.sampler.repetition_penalty);
          }},
    Field{"presence_penalty",
          [](auto p, auto& v, auto& r) {
            return number(p, v, -2, 2, r.out.sampler.presence_penalty);
          }},
    Field{"frequency_penalty",
          [](auto p, auto& v, auto& r) {
            return number(p, v, -2, 2, r.out.sampler.frequency_penalty);
          }},
    Field{"stop", [](auto p, auto& v, auto& r) { return stop(p, v, r.out.stops); }},
    Field{"seed", [](auto p, auto& v, auto& r) { return seed(p, v, r.out.seed); }},
    Field{"logit_bias", logit_bias},
    Field{"logprobs", [](auto p, auto& v, auto& r) { return boolean(p, v, r.out.logprobs); }},
    Field{"top_logprobs",
          [](auto p, auto& v, auto& r) {
            int64_t count = 0;
            Problem problem = integer(p, v, 0, kTopLogprobs, count);
            r.out.sampler.top_logprobs = static_cast<int32_t>(count);
            r.top_logprobs = true;
            return problem;
          }},
    Field{"ignore_eos", [](auto p, auto& v, auto& r) { return boolean(p, v, r.out.ignore_end); }},
    Field{"chat_template_kwargs", template_arguments},
    Field{"ration", limits},
    // One way of doing it, which may be asked for.
    Field{"n", [](auto p, auto& v, auto&) { return only(p, v, 1); }},
    Field{"store", [](auto p, auto& v, auto&) { return only(p, v, false); }},
    Field{"modalities", [](auto p, auto& v, auto&) { return only(p, v, Json::array({"text"})); }},
    Field{"tools", [](auto p, auto& v, auto&) { return only(p, v, Json::array()); }},
    Field{"tool_choice", [](auto p, auto& v, auto&) { return only(p, v, "none"); }},
    Field{"functions", [](auto p, auto& v, auto&) { return only(p, v, Json::array()); }},
    Field{"function_call", [](auto p, auto& v, auto&) { return only(p, v, "none"); }},
    Field{"response_format", [](auto p, auto& v, auto&) { return response_format(p, v); }},
    Field{"service_tier",
          [](auto p, auto& v, auto&) -> Problem {
            if (v == "auto" || v == "default") return {};
            return unsupported(
                p,
                fmt::format("found {}, only \"auto\" and \"default\" are supported", describe(v)));
          }},
    // Without a meaning here, and harmless.
    Field{"parallel_tool_calls",
          [](auto p, auto& v, auto&) {
            bool ignored = false;
            return boolean(p, v, ignored);
          }},
    Field{"user", [](auto p, auto& v, auto&) { return any_text(p, v); }},
    Field{"safety_identifier", [](auto p, auto& v, auto&) { return any_text(p, v); }},
    Field{"prompt_cache_key", [](auto p, auto& v, auto&) { return any_text(p, v); }},
    Field{"metadata",
          [](auto p, auto& v, auto&) -> Problem {
            if (!v.is_object()) return wrong(p, v, "an object");
            return {};
          }},
};

// Known elsewhere; to leave them out in silence would change what the client gets.
constexpr std::array<std::string_view, 22> kUnsupported{"reasoning_effort",
                                                        "reasoning",
                                                        "reasoning_format",
                                                        "verbosity",
                                                        "audio",
                                                        "prediction",
                                                        "web_search_options",
                                                        "moderation",
                                                        "grammar",
                                                        "json_schema",
                                                        "lora",
                                                        "keep_alive",
                                                        "cache_prompt",
                                                        "best_of",
                                                        "use_beam_search",
                                                        "guided_json",
                                                        "guided_regex",
                                                        "guided_choice",
                                                        "guided_grammar",
                                                        "min_tokens",
                                                        "echo",
                                                        "prompt_cache_retention"};

Problem read_field(std::string_view name, const Json& value, Reading& reading) {
  for (const Field& field : kFields) {
    if (field.name == name) return field.read(name, value, reading);
  }
  for (std::string_view known : kUnsupported) {
    if (known == name) return unsupported(name, "this parameter is not supported");
  }
  std::vector<std::string> names;
  for (const Field& field : kFields) names.emplace_back(field.name);
  return unknown(name, name, names);
}

ApiError invalid(std::string_view param, std::string message, std::string_view code) {
  return {.code = std::string(code), .message = std::move(message), .param = std::string(param)};
}

// What several fields say together.
Problem check_together(Reading& reading) {
  if (!reading.messages) {
    return invalid("messages", "messages: found nothing, wanted a conversation",
                   "missing_required_parameter");
  }
  if (reading.stream_options && !reading.out.stream) {
    return invalid("stream_options", "stream_options: only for an answer with \"stream\": true",
                   "invalid_value");
  }
  if (reading.top_logprobs && !reading.out.logprobs) {
    return invalid("top_logprobs", "top_logprobs: only with \"logprobs\": true", "invalid_value");
  }
  if (reading.max_tokens && reading.max_completion_tokens &&
      *reading.max_tokens != *reading.max_completion_tokens) {
    return invalid("max_tokens",
                   fmt::format("max_tokens: found {} and max_completion_tokens {}, wanted one of "
                               "them",
                               *reading.max_tokens, *reading.max_completion_tokens),
                   "invalid_value");
  }
  reading.out.tokens_max = reading.max_tokens ? reading.max_tokens : reading.max_completion_tokens;
  if (Status checked = reading.out.sampler.check(reading.defaults.vocabulary); !checked) {
    return invalid("", checked.error().message, "invalid_value");
  }
  return {};
}

// A byte of JSON can become fifty of values ("[[],[],"), so they are counted before they are made.
bool has_too_many_values(std::string_view body) {
  int64_t marks = 0;
  bool in_string = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',' || c == '[' || c == '{' || c == ':') {
      ++marks;
    }
  }
  return marks > kValuesMax;
}

}  // namespace

std::variant<ChatRequest, ApiError> parse_chat_request(std::string_view body,
                                                       const ChatDefaults& defaults) {
  if (has_too_many_values(body)) {
    return invalid("", fmt::format("the body has more than {} values", kValuesMax),
                   "too_many_values");
  }
  const Result<Json> parsed = parse_json(body, kDepthMax);
  if (!parsed) {
    // It quotes the body: bytes that are no text, or megabytes of it.
    const std::string_view message = parsed.error().message;
    return invalid("", "the body is " + to_valid_utf8(message.substr(0, kMessageBytesMax)),
                   "invalid_json");
  }
  if (!parsed->is_object()) {
    return invalid("", fmt::format("the body is {}, wanted an object", describe(*parsed)),
                   "invalid_json");
  }
  Reading reading{.out = {.sampler = defaults.sampler}, .defaults = defaults};
  for (const auto& [name, value] : parsed->items()) {
    if (value.is_null()) continue;
    if (Problem problem = read_field(name, value, reading)) return std::move(*problem);
  }
  if (Problem problem = check_together(reading)) return std::move(*problem);
  return std::move(reading.out);
}

}  // namespace ration
