#include "serve/chat_messages.h"

#include <fmt/core.h>

#include <array>
#include <vector>

#include "base/text.h"

namespace ration {
namespace {

constexpr size_t kShownBytesMax = 60;

// `text` up to `bytes_max`, not inside a code point.
std::string cut(std::string text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  text.resize(bytes_max);
  text.resize(text.size() - incomplete_utf8_tail(text));
  return text + "...";
}

Problem read_parts(const std::string& param, const Json& parts, std::string& text) {
  if (parts.empty()) return wrong(param, parts, "a string or text parts");
  for (size_t i = 0; i < parts.size(); ++i) {
    const Json& part = parts[i];
    const std::string name = fmt::format("{}[{}]", param, i);
    if (!part.is_object()) return wrong(name, part, "an object such as {\"type\":\"text\"}");
    const auto type = part.find("type");
    if (type == part.end() || !type->is_string()) {
      return wrong(name + ".type", type == part.end() ? Json() : *type, "\"text\"");
    }
    if (*type != "text") {
      return unsupported(name + ".type", fmt::format("found {}, only \"text\" parts are supported",
                                                     describe(*type)));
    }
    const auto words = part.find("text");
    if (words == part.end() || !words->is_string()) {
      return wrong(name + ".text", words == part.end() ? Json() : *words, "a string");
    }
    for (const auto& [key, ignored] : part.items()) {
      if (key != "type" && key != "text") {
        return unknown(name + "." + key, key, std::array<std::string, 2>{"type", "text"});
      }
    }
    if (i > 0) text += '\n';
    text += words->get_ref<const std::string&>();
  }
  return {};
}

Problem read_role(const std::string& param, const Json& message, std::string& role) {
  const auto found = message.find("role");
  constexpr std::string_view kWanted = "system, developer, user, assistant or tool";
  if (found == message.end() || !found->is_string()) {
    return wrong(param + ".role", found == message.end() ? Json() : *found, kWanted);
  }
  role = found->get<std::string>();
  for (std::string_view known : {"system", "developer", "user", "assistant", "tool"}) {
    if (role != known) continue;
    if (role == "developer") role = "system";
    return {};
  }
  return wrong(param + ".role", *found, kWanted);
}

Problem read_content(const std::string& param, const Json& message, const std::string& role,
                     std::string& text) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    if (role == "assistant") return {};  // what a client keeps of an answer without text
    return wrong(param + ".content", Json(), "a string or text parts");
  }
  if (content->is_string()) {
    text = content->get<std::string>();
    return {};
  }
  if (content->is_array()) return read_parts(param + ".content", *content, text);
  return wrong(param + ".content", *content, "a string or text parts");
}

bool is_empty(const Json& value) { return value.is_null() || (value.is_array() && value.empty()); }

// The fields besides role and content.
Problem read_rest(const std::string& param, const Json& message, Json& out) {
  for (const auto& [key, value] : message.items()) {
    const std::string name = param + "." + key;
    if (key == "role" || key == "content" || is_empty(value)) continue;
    if (key == "name" || key == "tool_call_id" || key == "reasoning_content" ||
        key == "reasoning") {
      if (!value.is_string()) return wrong(name, value, "a string");
      out[key == "reasoning" ? "reasoning_content" : key] = value;
    } else if (key == "tool_calls" || key == "function_call" || key == "audio") {
      return unsupported(name, "this field is not supported");
    } else if (key != "refusal" && key != "annotations") {  // parts of answers, sent back
      return unknown(name, key, std::array<std::string, 3>{"role", "content", "name"});
    }
  }
  return {};
}

}  // namespace

std::string describe(const Json& value) {
  if (value.is_null()) return "nothing";
  if (value.is_array()) {
    return value.empty() ? "an empty array" : fmt::format("an array of {}", value.size());
  }
  if (value.is_object()) return value.empty() ? "an empty object" : "an object";
  return cut(to_text(value), kShownBytesMax);
}

Problem wrong(std::string_view param, const Json& found, std::string_view wanted) {
  return ApiError{.code = found.is_null() ? "missing_required_parameter" : "invalid_value",
                  .message = fmt::format("{}: found {}, wanted {}", cut(std::string(param), 200),
                                         describe(found), wanted),
                  .param = cut(std::string(param), 200)};
}

Problem unsupported(std::string_view param, std::string_view why) {
  return ApiError{.code = "unsupported_parameter",
                  .message = fmt::format("{}: {}", cut(std::string(param), 200), why),
                  .param = cut(std::string(param), 200)};
}

Problem unknown(std::string_view param, std::string_view name, std::span<const std::string> known) {
  const std::string hint =
      name.size() <= kShownBytesMax ? did_you_mean(name, known) : std::string();
  return ApiError{
      .code = "unknown_parameter",
      .message = fmt::format("{}: there is no such parameter{}{}", cut(std::string(param), 200),
                             hint.empty() ? "" : ", ", hint),
      .param = cut(std::string(param), 200)};
}

Problem read_messages(std::string_view param, const Json& value, std::string& messages_json) {
  if (!value.is_array() || value.empty()) return wrong(param, value, "an array of messages");
  Json messages = Json::array();
  for (size_t i = 0; i < value.size(); ++i) {
    const Json& message = value[i];
    const std::string name = fmt::format("{}[{}]", param, i);
    if (!message.is_object()) return wrong(name, message, "an object with role and content");
    std::string role;
    std::string text;
    if (Problem problem = read_role(name, message, role)) return problem;
    if (Problem problem = read_content(name, message, role, text)) return problem;
    Json out{{"role", std::move(role)}, {"content", std::move(text)}};
    if (Problem problem = read_rest(name, message, out)) return problem;
    messages.push_back(std::move(out));
  }
  messages_json = to_text(messages);
  return {};
}

}  // namespace ration
