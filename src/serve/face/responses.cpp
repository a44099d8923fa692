// OpenAI's responses, without a memory: POST /v1/responses. Every request brings the whole
// conversation.
#include "serve/face/responses.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "serve/face/face.h"
#include "serve/face/openai.h"
#include "serve/messages.h"

namespace ration {
namespace {

constexpr std::array<std::string_view, 3> kInputParts{"input_text", "output_text", "text"};
constexpr std::array<std::string_view, 2> kReasoningParts{"reasoning_text", "text"};

Json item_part(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found == object.end() ? Json() : *found;
}

// ------------------------------------------------------------------------------------------ input

// Items of a conversation as messages: reasoning goes with what the assistant says or calls next,
// and calls in a row are one message.
class Conversation {
 public:
  Problem add(const std::string& param, const Json& item) {
    if (!item.is_object()) return wrong(param, item, "an object with a role or a type");
    const Json type = item_part(item, "type");
    if (type == "function_call") return add_call(param, item);
    if (type == "function_call_output") return add_output(param, item);
    if (type == "reasoning") return add_reasoning(param, item);
    if (type.is_null() || type == "message") return add_message(param, item);
    return unsupported(param + ".type",
                       fmt::format("found {}, only message, reasoning, function_call and "
                                   "function_call_output are supported",
                                   describe(type)));
  }

  void say(std::string_view role, std::string text) {
    messages_.push_back({{"role", role}, {"content", std::move(text)}});
  }

  const Json& messages() const { return messages_; }

 private:
  Problem add_message(const std::string& param, const Json& item) {
    const Json role = item_part(item, "role");
    if (role != "user" && role != "assistant" && role != "system" && role != "developer") {
      return wrong(param + ".role", role, "user, assistant, system or developer");
    }
    std::string text;
    if (Problem problem =
            read_content(param + ".content", item_part(item, "content"), kInputParts, text)) {
      return problem;
    }
    say(role == "developer" ? "system" : role.get<std::string>(), std::move(text));
    if (role == "assistant") take_reasoning();
    return {};
  }

  Problem add_call(const std::string& param, const Json& item) {
    const Json id = item_part(item, "call_id");
    const Json name = item_part(item, "name");
    const Json arguments = item_part(item, "arguments");
    if (!id.is_string()) return wrong(param + ".call_id", id, "a string");
    if (!name.is_string()) return wrong(param + ".name", name, "a string");
    if (!arguments.is_string()) return wrong(param + ".arguments", arguments, "a string");
    if (messages_.empty() || messages_.back()["role"] != "assistant") {
      say("assistant", "");
      take_reasoning();
    }
    messages_.back()["tool_calls"].push_back(
        call_of(id.get<std::string>(), name.get<std::string>(), arguments));
    return {};
  }

  Problem add_output(const std::string& param, const Json& item) {
    const Json id = item_part(item, "call_id");
    if (!id.is_string()) return wrong(param + ".call_id", id, "a string");
    std::string text;
    if (Problem problem =
            read_content(param + ".output", item_part(item, "output"), kInputParts, text)) {
      return problem;
    }
    say("tool", std::move(text));
    messages_.back()["tool_call_id"] = id;
    return {};
  }

  // A summary alone, or what only OpenAI can read, is nothing to a model here.
  Problem add_reasoning(const std::string& param, const Json& item) {
    const Json content = item_part(item, "content");
    if (content.is_null() || content == Json::array()) return {};
    reasoning_.clear();
    return read_content(param + ".content", content, kReasoningParts, reasoning_);
  }

  void take_reasoning() {
    if (reasoning_.empty()) return;
    messages_.back()["reasoning_content"] = std::move(reasoning_);
    reasoning_.clear();
  }

  Json messages_ = Json::array();
  std::string reasoning_;
};

Problem read_input(const Json& body, Ask& ask) {
  Conversation conversation;
  if (const Json instructions = item_part(body, "instructions"); !instructions.is_null()) {
    std::string text;
    if (Problem problem = read_text("instructions", instructions, text)) return problem;
    conversation.say("system", std::move(text));
  }
  const Json input = item_part(body, "input");
  if (input.is_string()) {
    conversation.say("user", input.get<std::string>());
  } else if (input.is_array() && !input.empty()) {
    for (size_t i = 0; i < input.size(); ++i) {
      if (Problem problem = conversation.add(fmt::format("input[{}]", i), input[i])) {
        return problem;
      }
    }
  } else {
    return wrong("input", input, "a string or an array of items");
  }
  ask.messages_json = to_text(conversation.messages());
  return {};
}

// ----------------------------------------------------------------------------------------- fields

Problem read_flat_tools(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_array()) return wrong(param, value, "an array of tools");
  Json list = Json::array();
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string name = fmt::format("{}[{}]", param, i);
    if (!value[i].is_object()) return wrong(name, value[i], "an object with a type");
    Json function = value[i];
    const Json type = item_part(function, "type");
    if (type != "function") {
      return unsupported(name + ".type",
                         fmt::format("found {}, only \"function\" is supported", describe(type)));
    }
    function.erase("type");
    if (Problem problem = add_function(name, function, list, reading.ask.tools)) return problem;
  }
  if (!list.empty()) reading.ask.tools.json = to_text(list);
  return {};
}

Problem read_reasoning(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object with an effort");
  for (const auto& [key, item] : value.items()) {
    if (item.is_null()) continue;
    const std::string name = fmt::format("{}.{}", param, key);
    if (key != "effort") {
      return unsupported(name, "only the effort is supported: reasoning is given whole");
    }
    if (Problem problem = read_effort(name, item, reading)) return problem;
  }
  return {};
}

Problem read_text_format(std::string_view param, const Json& value, Reading&) {
  if (!value.is_object()) return wrong(param, value, "an object with a format");
  for (const auto& [key, item] : value.items()) {
    if (item.is_null()) continue;
    const std::string name = fmt::format("{}.{}", param, key);
    if (key != "format") return unsupported(name, "only the format is supported");
    if (Problem problem = only(name, item, Json{{"type", "text"}})) return problem;
  }
  return {};
}

Problem read_response_stream(std::string_view param, const Json& value, Reading&) {
  if (!value.is_object()) return wrong(param, value, "an object");
  for (const auto& [key, item] : value.items()) {
    const std::string name = fmt::format("{}.{}", param, key);
    if (key != "include_obfuscation") {
      return unknown(name, key, std::array<std::string, 1>{"include_obfuscation"});
    }
    if (Problem problem = only(name, item, false)) return problem;
  }
  return {};
}

constexpr std::array kResponseFields{
    Field{"input", read_later},
    Field{"instructions", read_later},
    Field{"max_output_tokens", read_tokens_max},
    Field{"tools", read_flat_tools},
    Field{"tool_choice", read_tool_choice},
    Field{"parallel_tool_calls",
          [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.tools.parallel); }},
    Field{"reasoning", read_reasoning},
    Field{"text", read_text_format},
    Field{"stream_options", read_response_stream},
    // One way of doing it, which may be asked for.
    Field{"include", [](auto p, auto& v, auto&) { return only(p, v, Json::array()); }},
    Field{"truncation", [](auto p, auto& v, auto&) { return only(p, v, "disabled"); }},
    Field{"background", [](auto p, auto& v, auto&) { return only(p, v, false); }},
    Field{"top_logprobs", [](auto p, auto& v, auto&) { return only(p, v, 0); }},
    Field{"n", [](auto p, auto& v, auto&) { return only(p, v, 1); }},
};

constexpr std::array<std::string_view, 8> kResponseRefused{
    "previous_response_id", "conversation", "prompt",     "max_tool_calls",
    "moderation",           "messages",     "max_tokens", "context_management"};

// 0.8, not 0.800000012.
double short_number(float value) { return std::round(static_cast<double>(value) * 1e6) / 1e6; }

// What the answer repeats of the request: "key":value,... without braces.
std::string repeated(const Json& body, const Ask& ask) {
  Json out{{"instructions", nullptr},
           {"max_output_tokens", nullptr},
           {"metadata", Json::object()},
           {"parallel_tool_calls", ask.tools.parallel},
           {"previous_response_id", nullptr},
           {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
           {"store", false},
           {"temperature", short_number(ask.sampler.temperature)},
           {"text", {{"format", {{"type", "text"}}}}},
           {"tool_choice", "auto"},
           {"tools", Json::array()},
           {"top_p", short_number(ask.sampler.top_p)},
           {"truncation", "disabled"}};
  for (auto& [key, value] : out.items()) {
    const auto said = body.find(key);
    if (said != body.end() && !said->is_null()) value = *said;
  }
  const std::string text = to_text(out);
  return text.substr(1, text.size() - 2);
}

std::variant<Ask, ApiError> read_response(std::string_view body, const AskDefaults& defaults) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  const Json& object = std::get<Json>(parsed);
  Reading reading{.ask = {.sampler = defaults.sampler}, .defaults = defaults};
  Problem problem =
      read_fields(object, "", {kResponseFields, kCommonFields}, kResponseRefused, reading);
  if (!problem) problem = read_input(object, reading.ask);
  if (problem) return std::move(*problem);
  reading.ask.repeated_json = repeated(object, reading.ask);
  return finish_reading(reading);
}

}  // namespace

const Face kOpenAiResponses{.error = openai_error, .read = read_response, .writer = write_response};

}  // namespace ration
