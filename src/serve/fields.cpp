#include "serve/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/text.h"

namespace ration {
namespace {

constexpr int kDepthMax = 32;
constexpr int64_t kValuesMax = 200'000;
constexpr size_t kMessageBytesMax = 300;  // of what the JSON parser says
constexpr size_t kShownBytesMax = 60;
constexpr size_t kParamBytesMax = 200;
constexpr size_t kStopsMax = 16;
constexpr size_t kStopBytesMax = 1024;
constexpr int64_t kTokensMax = int64_t{1} << 31;
constexpr double kDeadlineMsMax = 7 * 24 * 3600e3;

// `text` up to `bytes_max`, not inside a code point.
std::string cut(std::string text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  text.resize(bytes_max);
  text.resize(text.size() - incomplete_utf8_tail(text));
  return text + "...";
}

ApiError refusal(std::string_view code, std::string_view param, std::string_view words) {
  const std::string shown = cut(std::string(param), kParamBytesMax);
  return {
      .code = std::string(code), .message = fmt::format("{}: {}", shown, words), .param = shown};
}

Problem read_seed(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_number_integer()) return wrong(param, value, "an integer");
  reading.ask.seed = value.is_number_unsigned() ? value.get<uint64_t>()
                                                : static_cast<uint64_t>(value.get<int64_t>());
  return {};
}

Problem read_logit_bias(std::string_view param, const Json& value, Reading& reading) {
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
    if (Problem problem = read_number(fmt::format("{}.{}", param, key), bias, -100, 100, found)) {
      return problem;
    }
    reading.ask.sampler.logit_bias.emplace_back(token, found);
  }
  return {};
}

Problem read_limits(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object");
  for (const auto& [key, item] : value.items()) {
    if (item.is_null()) continue;
    const std::string name = fmt::format("{}.{}", param, key);
    if (key == "max_ms") {
      double ms = 0;
      if (Problem problem = read_number(name, item, 0, kDeadlineMsMax, ms)) return problem;
      reading.ask.deadline = Millis{ms};
    } else if (key == "priority") {
      int64_t priority = 0;
      if (Problem problem = read_integer(name, item, -kPriorityMax, kPriorityMax, priority)) {
        return problem;
      }
      reading.ask.priority = static_cast<int32_t>(priority);
    } else {
      return unknown(name, key, std::array<std::string, 2>{"max_ms", "priority"});
    }
  }
  return {};
}

// One text that is given as the ids of its tokens.
Problem read_token_ids(std::string_view param, const Json& value, Reading& reading) {
  std::vector<Token> tokens;
  for (size_t i = 0; i < value.size(); ++i) {
    int64_t token = 0;
    if (Problem problem = read_integer(fmt::format("{}[{}]", param, i), value[i], 0,
                                       reading.defaults.vocabulary - 1, token)) {
      return problem;
    }
    tokens.push_back(static_cast<Token>(token));
  }
  reading.ask.prompts.emplace_back(std::move(tokens));
  return {};
}

Problem read_service_tier(std::string_view param, const Json& value, Reading&) {
  if (value == "auto" || value == "default") return {};
  return unsupported(
      param, fmt::format("found {}, only \"auto\" and \"default\" are supported", describe(value)));
}

constexpr std::array kCommon{
    Field{"model", [](auto p, auto& v, auto& r) { return read_text(p, v, r.ask.model); }},
    Field{"stream", [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.stream); }},
    Field{"temperature",
          [](auto p, auto& v, auto& r) {
            return read_number(p, v, 0, 100, r.ask.sampler.temperature);
          }},
    Field{"top_p",
          [](auto p, auto& v, auto& r) { return read_number(p, v, 0, 1, r.ask.sampler.top_p); }},
    Field{"top_k",
          [](auto p, auto& v, auto& r) {
            int64_t k = 0;
            Problem problem = read_integer(p, v, 0, std::numeric_limits<int32_t>::max(), k);
            r.ask.sampler.top_k = static_cast<int32_t>(k);
            return problem;
          }},
    Field{"min_p",
          [](auto p, auto& v, auto& r) { return read_number(p, v, 0, 1, r.ask.sampler.min_p); }},
    Field{"repetition_penalty",
          [](auto p, auto& v, auto& r) {
            return read_number(p, v, 0.01, 100, r.ask.sampler.repetition_penalty);
          }},
    Field{"presence_penalty",
          [](auto p, auto& v, auto& r) {
            return read_number(p, v, -2, 2, r.ask.sampler.presence_penalty);
          }},
    Field{"frequency_penalty",
          [](auto p, auto& v, auto& r) {
            return read_number(p, v, -2, 2, r.ask.sampler.frequency_penalty);
          }},
    Field{"seed", read_seed},
    Field{"stop", read_stops},
    Field{"logit_bias", read_logit_bias},
    Field{"ignore_eos", [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.ignore_end); }},
    Field{"ration", read_limits},
    Field{"n", [](auto p, auto& v,
                  auto& r) { return read_integer(p, v, 1, kChoicesMax, r.ask.choices); }},
    // One way of doing it, which may be asked for.
    Field{"store", [](auto p, auto& v, auto&) { return only(p, v, false); }},
    Field{"service_tier", read_service_tier},
    // Without a meaning here, and harmless.
    Field{"user", [](auto p, auto& v, auto&) { return any_text(p, v); }},
    Field{"safety_identifier", [](auto p, auto& v, auto&) { return any_text(p, v); }},
    Field{"prompt_cache_key", [](auto p, auto& v, auto&) { return any_text(p, v); }},
    Field{"metadata", [](auto p, auto& v, auto&) { return any_object(p, v); }},
};

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

const Fields kCommonFields = kCommon;

std::string describe(const Json& value) {
  if (value.is_null()) return "nothing";
  if (value.is_array()) {
    return value.empty() ? "an empty array" : fmt::format("an array of {}", value.size());
  }
  if (value.is_object()) return value.empty() ? "an empty object" : "an object";
  return cut(to_text(value), kShownBytesMax);
}

Problem wrong(std::string_view param, const Json& found, std::string_view wanted) {
  return refusal(found.is_null() ? "missing_required_parameter" : "invalid_value", param,
                 fmt::format("found {}, wanted {}", describe(found), wanted));
}

Problem unsupported(std::string_view param, std::string_view why) {
  return refusal("unsupported_parameter", param, why);
}

Problem unknown(std::string_view param, std::string_view name, std::span<const std::string> known) {
  const std::string hint =
      name.size() <= kShownBytesMax ? did_you_mean(name, known) : std::string();
  return refusal("unknown_parameter", param,
                 "there is no such parameter" + (hint.empty() ? "" : ", " + hint));
}

Problem only(std::string_view param, const Json& value, const Json& wanted) {
  if (value == wanted) return {};
  return unsupported(
      param, fmt::format("found {}, only {} is supported", describe(value), to_text(wanted)));
}

Problem conflict(std::string_view param, std::string message) {
  return refusal("invalid_value", param, message);
}

Problem missing(std::string_view param, std::string_view wanted) {
  return wrong(param, Json(), wanted);
}

Problem read_number(std::string_view param, const Json& value, double least, double most,
                    double& out) {
  const double found = value.is_number() ? value.get<double>() : std::nan("");
  if (!(found >= least && found <= most)) {
    return wrong(param, value, fmt::format("a number from {} to {}", least, most));
  }
  out = found;
  return {};
}

Problem read_number(std::string_view param, const Json& value, double least, double most,
                    float& out) {
  double found = 0;
  if (Problem problem = read_number(param, value, least, most, found)) return problem;
  out = static_cast<float>(found);
  return {};
}

Problem read_integer(std::string_view param, const Json& value, int64_t least, int64_t most,
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

Problem read_bool(std::string_view param, const Json& value, bool& out) {
  if (!value.is_boolean()) return wrong(param, value, "true or false");
  out = value.get<bool>();
  return {};
}

Problem read_text(std::string_view param, const Json& value, std::string& out) {
  if (!value.is_string()) return wrong(param, value, "a string");
  out = value.get<std::string>();
  return {};
}

Problem any_text(std::string_view param, const Json& value) {
  if (!value.is_string()) return wrong(param, value, "a string");
  return {};
}

Problem any_object(std::string_view param, const Json& value) {
  if (!value.is_object()) return wrong(param, value, "an object");
  return {};
}

Problem read_later(std::string_view, const Json&, Reading&) { return {}; }

const std::string_view kWantedTexts =
    "a string, an array of strings, of token ids, or of arrays of token ids";

Problem read_texts(std::string_view param, const Json& value, int64_t most, Reading& reading) {
  if (value.is_string()) {
    reading.ask.prompts.emplace_back(value.get<std::string>());
    return {};
  }
  if (!value.is_array() || value.empty()) return wrong(param, value, kWantedTexts);
  if (value[0].is_number()) return read_token_ids(param, value, reading);
  if (std::ssize(value) > most) return wrong(param, value, fmt::format("at most {} texts", most));
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string name = fmt::format("{}[{}]", param, i);
    if (value[i].is_string()) {
      reading.ask.prompts.emplace_back(value[i].get<std::string>());
    } else if (value[i].is_array() && !value[i].empty()) {
      if (Problem problem = read_token_ids(name, value[i], reading)) return problem;
    } else {
      return wrong(name, value[i], kWantedTexts);
    }
  }
  return {};
}

Problem read_stops(std::string_view param, const Json& value, Reading& reading) {
  const Json list = value.is_string() ? Json::array({value}) : value;
  const std::string wanted =
      fmt::format("a string or at most {} strings of 1 to {} bytes", kStopsMax, kStopBytesMax);
  if (!list.is_array() || list.size() > kStopsMax) return wrong(param, value, wanted);
  for (const Json& item : list) {
    if (!item.is_string()) return wrong(param, item, wanted);
    auto text = item.get<std::string>();
    if (text.empty() || text.size() > kStopBytesMax) return wrong(param, item, wanted);
    reading.ask.stops.push_back(std::move(text));
  }
  return {};
}

Problem read_keep_alive(std::string_view param, const Json& value, Reading& reading) {
  double seconds = value.is_number() ? value.get<double>() : std::nan("");
  if (value.is_string()) {
    std::string text = value.get<std::string>();
    const bool negative = text.starts_with('-');
    if (negative) text.erase(0, 1);
    if (const Result<Millis> span = parse_millis(text)) {
      seconds = (negative ? -1 : 1) * span->count / 1000;
    }
  }
  if (std::isnan(seconds)) return wrong(param, value, "seconds, or a span such as \"5m\"");
  constexpr double kLongest = 1e9;  // seconds; thirty years
  const bool stays = seconds < 0 || seconds > kLongest;
  reading.ask.keep_alive = Millis{stays ? std::numeric_limits<double>::infinity() : seconds * 1000};
  return {};
}

Problem read_tokens_max(std::string_view param, const Json& value, Reading& reading) {
  int64_t found = 0;
  if (Problem problem = read_integer(param, value, 1, kTokensMax, found)) return problem;
  reading.ask.tokens_max = found;
  return {};
}

Problem read_common(std::string_view name, std::string_view param, const Json& value,
                    Reading& reading) {
  for (const Field& field : kCommon) {
    if (field.name == name) return field.read(param, value, reading);
  }
  CHECK(false, "a common field that is none");
  return {};
}

Problem read_fields(const Json& object, std::string_view prefix,
                    std::initializer_list<Fields> tables, std::span<const std::string_view> refused,
                    Reading& reading) {
  const auto find = [&](std::string_view wanted) -> const Field* {
    for (const Fields& table : tables) {
      for (const Field& field : table) {
        if (field.name == wanted) return &field;
      }
    }
    return nullptr;
  };
  for (const auto& [name, value] : object.items()) {
    if (value.is_null()) continue;
    const std::string param = std::string(prefix) + name;
    Problem problem;
    if (const Field* field = find(name)) {
      problem = field->read(param, value, reading);
    } else if (std::ranges::find(refused, name) != refused.end()) {
      problem = unsupported(param, "this parameter is not supported");
    } else {
      std::vector<std::string> names;
      for (const Fields& table : tables) {
        for (const Field& known : table) names.emplace_back(known.name);
      }
      problem = unknown(param, name, names);
    }
    if (problem) return problem;
  }
  return {};
}

std::variant<Json, ApiError> parse_body(std::string_view body) {
  const auto refused = [](std::string message, std::string_view code) {
    return ApiError{.code = std::string(code), .message = std::move(message)};
  };
  if (has_too_many_values(body)) {
    return refused(fmt::format("the body has more than {} values", kValuesMax), "too_many_values");
  }
  Result<Json> parsed = parse_json(body, kDepthMax);
  if (!parsed) {
    // It quotes the body: bytes that are no text, or megabytes of it.
    const std::string_view message = parsed.error().message;
    return refused("the body is " + to_valid_utf8(message.substr(0, kMessageBytesMax)),
                   "invalid_json");
  }
  if (!parsed->is_object()) {
    return refused(fmt::format("the body is {}, wanted an object", describe(*parsed)),
                   "invalid_json");
  }
  return std::move(*parsed);
}

std::variant<Ask, ApiError> finish_reading(Reading& reading) {
  Ask& ask = reading.ask;
  ask.sampler.logprobs = ask.logprobs;
  if (reading.tools_off) ask.tools = {};
  if (Status checked = ask.sampler.check(reading.defaults.vocabulary); !checked) {
    return ApiError{.code = "invalid_value", .message = checked.error().message};
  }
  const auto prompts = static_cast<int64_t>(std::max<size_t>(1, ask.prompts.size()));
  if (!ask.vectors && prompts * ask.choices > kChoicesMax) {
    return *conflict("n", fmt::format("found {} choices of {} prompts, wanted at most {} answers",
                                      ask.choices, prompts, kChoicesMax));
  }
  return std::move(ask);
}

}  // namespace ration
