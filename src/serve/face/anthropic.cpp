// Anthropic's messages: POST /v1/messages and /v1/messages/count_tokens.
#include "serve/face/anthropic.h"

#include <fmt/format.h>

#include <array>

#include "serve/face/face.h"
#include "serve/face/openai.h"
#include "serve/messages.h"

namespace ration {
namespace {

constexpr std::array<std::string_view, 1> kTextBlocks{"text"};
constexpr std::string_view kWantedContent = "a string or content blocks";

Json part_of(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found == object.end() ? Json() : *found;
}

// ------------------------------------------------------------------------------------- messages

// One message of theirs becomes one or several of ours: what tools said stands alone.
struct MessageReading {
  std::string param;
  Json& messages;
  std::string role;
  std::string text{};
  std::string thinking{};
  Json calls = Json::array();
};

Problem read_tool_result(const std::string& param, const Json& block, MessageReading& message) {
  if (message.role != "user") return unsupported(param, "only the user tells results of tools");
  const Json id = part_of(block, "tool_use_id");
  if (!id.is_string()) return wrong(param + ".tool_use_id", id, "a string");
  std::string text;
  if (const Json content = part_of(block, "content");
      !content.is_null() && content != Json::array()) {
    if (Problem problem = read_content(param + ".content", content, kTextBlocks, text)) {
      return problem;
    }
  }
  message.messages.push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", text}});
  return {};
}

Problem read_tool_use(const std::string& param, const Json& block, MessageReading& message) {
  if (message.role != "assistant") return unsupported(param, "only the assistant makes calls");
  const Json id = part_of(block, "id");
  const Json name = part_of(block, "name");
  const Json input = part_of(block, "input");
  if (!id.is_string()) return wrong(param + ".id", id, "a string");
  if (!name.is_string()) return wrong(param + ".name", name, "a string");
  if (!input.is_object()) return wrong(param + ".input", input, "an object");
  message.calls.push_back(call_of(id.get<std::string>(), name.get<std::string>(), input));
  return {};
}

Problem read_block(const std::string& param, const Json& block, MessageReading& message) {
  if (!block.is_object()) return wrong(param, block, "an object such as {\"type\":\"text\"}");
  const Json type = part_of(block, "type");
  if (type == "tool_result") return read_tool_result(param, block, message);
  if (type == "tool_use") return read_tool_use(param, block, message);
  if (type == "redacted_thinking") return {};  // nobody here can read it
  const bool thinks = type == "thinking" && message.role == "assistant";
  if (type == "text" || thinks) {
    const std::string_view key = thinks ? "thinking" : "text";
    const Json words = part_of(block, key);
    if (!words.is_string()) return wrong(fmt::format("{}.{}", param, key), words, "a string");
    std::string& text = thinks ? message.thinking : message.text;
    if (!text.empty()) text += '\n';
    text += words.get_ref<const std::string&>();
    return {};
  }
  if (!type.is_string()) return wrong(param + ".type", type, "\"text\"");
  return unsupported(param + ".type",
                     fmt::format("found {}, only text, thinking, tool_use and tool_result are "
                                 "supported",
                                 describe(type)));
}

Problem read_message(const std::string& param, const Json& value, Json& messages) {
  if (!value.is_object()) return wrong(param, value, "an object with role and content");
  const Json role = part_of(value, "role");
  if (role != "user" && role != "assistant" && role != "system") {
    return wrong(param + ".role", role, "user or assistant");
  }
  for (const auto& [key, item] : value.items()) {
    if (key != "role" && key != "content") {
      return unknown(param + "." + key, key, std::array<std::string, 2>{"role", "content"});
    }
  }
  MessageReading message{.param = param, .messages = messages, .role = role.get<std::string>()};
  const Json content = part_of(value, "content");
  if (content.is_string()) {
    message.text = content.get<std::string>();
  } else if (content.is_array() && !content.empty()) {
    for (size_t i = 0; i < content.size(); ++i) {
      if (Problem problem =
              read_block(fmt::format("{}.content[{}]", param, i), content[i], message)) {
        return problem;
      }
    }
    // Results of tools alone are no words of the user.
    if (message.role == "user" && message.text.empty()) return {};
  } else {
    return wrong(param + ".content", content, kWantedContent);
  }
  Json out{{"role", message.role}, {"content", std::move(message.text)}};
  if (!message.thinking.empty()) out["reasoning_content"] = std::move(message.thinking);
  if (!message.calls.empty()) out["tool_calls"] = std::move(message.calls);
  messages.push_back(std::move(out));
  return {};
}

Problem read_conversation(const Json& body, Ask& ask) {
  Json messages = Json::array();
  if (const Json system = part_of(body, "system"); !system.is_null() && system != Json::array()) {
    std::string text;
    if (Problem problem = read_content("system", system, kTextBlocks, text)) return problem;
    messages.push_back({{"role", "system"}, {"content", std::move(text)}});
  }
  const Json list = part_of(body, "messages");
  if (!list.is_array() || list.empty()) return wrong("messages", list, "an array of messages");
  for (size_t i = 0; i < list.size(); ++i) {
    if (Problem problem = read_message(fmt::format("messages[{}]", i), list[i], messages)) {
      return problem;
    }
  }
  ask.messages_json = to_text(messages);
  return {};
}

// ------------------------------------------------------------------------------------------ tools

Problem read_tool(const std::string& param, const Json& tool, Json& list, AskedTools& tools) {
  if (!tool.is_object()) return wrong(param, tool, "an object with name and input_schema");
  const Json type = part_of(tool, "type");
  if (!type.is_null() && type != "custom") {
    return unsupported(param + ".type", fmt::format("found {}, only tools of the client are "
                                                    "supported",
                                                    describe(type)));
  }
  const Json schema = part_of(tool, "input_schema");
  if (!schema.is_object()) return wrong(param + ".input_schema", schema, "a JSON schema");
  Json function = Json::object();
  for (const auto& [key, value] : tool.items()) {
    if (key == "type" || key == "cache_control") continue;
    function[key == "input_schema" ? "parameters" : key] = value;
  }
  return add_function(param, function, list, tools);
}

Problem read_their_tools(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_array()) return wrong(param, value, "an array of tools");
  Json list = Json::array();
  for (size_t i = 0; i < value.size(); ++i) {
    if (Problem problem =
            read_tool(fmt::format("{}[{}]", param, i), value[i], list, reading.ask.tools)) {
      return problem;
    }
  }
  if (!list.empty()) reading.ask.tools.json = to_text(list);
  return {};
}

Problem read_their_choice(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object with a type");
  if (Problem problem =
          read_tool_choice(fmt::format("{}.type", param), part_of(value, "type"), reading)) {
    return problem;
  }
  bool single = false;
  if (const Json said = part_of(value, "disable_parallel_tool_use"); !said.is_null()) {
    if (Problem problem =
            read_bool(fmt::format("{}.disable_parallel_tool_use", param), said, single)) {
      return problem;
    }
  }
  reading.ask.tools.parallel = !single;
  return {};
}

Problem read_thinking(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object with a type");
  const Json type = part_of(value, "type");
  AskedThinking& thinking = reading.ask.thinking;
  thinking.param = fmt::format("{}.type", param);
  if (type != "enabled" && type != "adaptive" && type != "disabled") {
    return wrong(thinking.param, type, "enabled, adaptive or disabled");
  }
  if (const Json budget = part_of(value, "budget_tokens"); !budget.is_null()) {
    return unsupported(fmt::format("{}.budget_tokens", param),
                       "a budget of thinking alone cannot be kept, wanted the type \"adaptive\" "
                       "without one");
  }
  if (const Json display = part_of(value, "display"); !display.is_null()) {
    return unsupported(fmt::format("{}.display", param), "thinking is shown as it is written");
  }
  thinking.on = type != "disabled";
  return {};
}

Problem read_output_config(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object with an effort");
  for (const auto& [key, item] : value.items()) {
    if (item.is_null()) continue;
    const std::string name = fmt::format("{}.{}", param, key);
    if (key != "effort") return unsupported(name, "only the effort is supported");
    if (Problem problem = read_effort(name, item, reading)) return problem;
  }
  return {};
}

Problem read_their_tier(std::string_view param, const Json& value, Reading&) {
  if (value == "auto" || value == "standard_only") return {};
  return wrong(param, value, "auto or standard_only");
}

constexpr std::array kMessageFields{
    Field{"model", [](auto p, auto& v, auto& r) { return read_common("model", p, v, r); }},
    Field{"messages", read_later},
    Field{"system", read_later},
    Field{"max_tokens", read_tokens_max},
    Field{"stop_sequences", read_stops},
    Field{"stream", [](auto p, auto& v, auto& r) { return read_common("stream", p, v, r); }},
    Field{"temperature",
          [](auto p, auto& v, auto& r) { return read_common("temperature", p, v, r); }},
    Field{"top_p", [](auto p, auto& v, auto& r) { return read_common("top_p", p, v, r); }},
    Field{"top_k", [](auto p, auto& v, auto& r) { return read_common("top_k", p, v, r); }},
    Field{"tools", read_their_tools},
    Field{"tool_choice", read_their_choice},
    Field{"thinking", read_thinking},
    Field{"output_config", read_output_config},
    Field{"speed", [](auto p, auto& v, auto&) { return only(p, v, "standard"); }},
    Field{"service_tier", read_their_tier},
    Field{"ration", [](auto p, auto& v, auto& r) { return read_common("ration", p, v, r); }},
    Field{"metadata", [](auto p, auto& v, auto&) { return any_object(p, v); }},
    // A hint for caches.
    Field{"cache_control", [](auto p, auto& v, auto&) { return any_object(p, v); }},
};

constexpr std::array<std::string_view, 8> kMessageRefused{
    "container",     "mcp_servers", "context_management", "output_format",
    "inference_geo", "diagnostics", "user_profile_id",    "workspace_id"};

std::variant<Ask, ApiError> read_body(std::string_view body, const AskDefaults& defaults,
                                      bool counts) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  const Json& object = std::get<Json>(parsed);
  Reading reading{.ask = {.sampler = defaults.sampler}, .defaults = defaults};
  Problem problem = read_fields(object, "", {kMessageFields}, kMessageRefused, reading);
  if (!problem && !counts && !reading.ask.tokens_max) {
    problem = missing("max_tokens", "how many tokens the answer may have");
  }
  if (!problem) problem = read_conversation(object, reading.ask);
  if (problem) return std::move(*problem);
  return finish_reading(reading);
}

std::string count_body(int64_t prompt_tokens) {
  return fmt::format("{{\"input_tokens\":{}}}\n", prompt_tokens);
}

}  // namespace

const Face kAnthropicMessages{
    .error = anthropic_error,
    .id_header = "request-id",
    .read = [](std::string_view body,
               const AskDefaults& defaults) { return read_body(body, defaults, false); },
    .writer = write_message};

const Face kAnthropicCount{
    .error = anthropic_error,
    .id_header = "request-id",
    .read = [](std::string_view body,
               const AskDefaults& defaults) { return read_body(body, defaults, true); },
    .count = count_body};

}  // namespace ration
