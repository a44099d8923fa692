#include "serve/messages.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace ration {
namespace {

constexpr std::array<std::string_view, 1> kTextParts{"text"};
constexpr std::string_view kTextOrParts = "a string or text parts";
constexpr size_t kToolsMax = 1024;
constexpr size_t kToolNameBytesMax = 256;

Json member(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found == object.end() ? Json() : *found;
}

Problem read_role(const std::string& param, const Json& message, std::string& role) {
  const Json found = member(message, "role");
  constexpr std::string_view kWanted = "system, developer, user, assistant or tool";
  if (!found.is_string()) return wrong(param + ".role", found, kWanted);
  role = found.get<std::string>();
  for (std::string_view known : {"system", "developer", "user", "assistant", "tool"}) {
    if (role != known) continue;
    if (role == "developer") role = "system";
    return {};
  }
  return wrong(param + ".role", found, kWanted);
}

Problem read_calls(const std::string& param, const Json& calls, Json& out) {
  if (!calls.is_array()) return wrong(param, calls, "an array of calls");
  out = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string name = fmt::format("{}[{}]", param, i);
    if (!calls[i].is_object()) return wrong(name, calls[i], "an object with a function");
    const Json function = member(calls[i], "function");
    if (!function.is_object()) return wrong(name + ".function", function, "an object");
    const Json called = member(function, "name");
    if (!called.is_string()) return wrong(name + ".function.name", called, "a string");
    const Json arguments = member(function, "arguments");
    if (!arguments.is_null() && !arguments.is_string() && !arguments.is_object()) {
      return wrong(name + ".function.arguments", arguments, "a string or an object");
    }
    const Json id = member(calls[i], "id");
    if (!id.is_null() && !id.is_string()) return wrong(name + ".id", id, "a string");
    out.push_back(call_of(id.is_string() ? id.get<std::string>() : fmt::format("call{:05}", i),
                          called.get<std::string>(), arguments));
  }
  return {};
}

bool is_empty(const Json& value) { return value.is_null() || (value.is_array() && value.empty()); }

// The name that templates read; "" for a key that is not handed on.
std::string_view template_key(std::string_view key) {
  if (key == "name" || key == "tool_call_id") return key;
  if (key == "tool_name") return "name";
  if (key == "reasoning_content" || key == "reasoning" || key == "thinking") {
    return "reasoning_content";
  }
  return "";
}

// The fields besides role and content.
Problem read_rest(const std::string& param, const Json& message, Json& out) {
  for (const auto& [key, value] : message.items()) {
    const std::string name = param + "." + key;
    if (key == "role" || key == "content" || is_empty(value)) continue;
    if (const std::string_view known = template_key(key); !known.empty()) {
      if (!value.is_string()) return wrong(name, value, "a string");
      out[std::string(known)] = value;
    } else if (key == "tool_calls") {
      if (out["role"] != "assistant") return unsupported(name, "only the assistant makes calls");
      if (Problem problem = read_calls(name, value, out[key])) return problem;
    } else if (key == "function_call" || key == "audio" || key == "images") {
      return unsupported(name, "this field is not supported");
    } else if (key != "refusal" && key != "annotations") {  // parts of answers, sent back
      return unknown(name, key,
                     std::array<std::string, 4>{"role", "content", "name", "tool_calls"});
    }
  }
  return {};
}

}  // namespace

Problem read_parts(std::string_view param, const Json& parts,
                   std::span<const std::string_view> types, std::string& text) {
  if (parts.empty()) return wrong(param, parts, kTextOrParts);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Json& part = parts[i];
    const std::string name = fmt::format("{}[{}]", param, i);
    const std::string wanted = fmt::format("\"{}\"", types.front());
    if (!part.is_object()) {
      return wrong(name, part, fmt::format("an object such as {{\"type\":{}}}", wanted));
    }
    const Json type = member(part, "type");
    if (!type.is_string()) return wrong(name + ".type", type, wanted);
    if (std::ranges::find(types, type.get_ref<const std::string&>()) == types.end()) {
      return unsupported(name + ".type", fmt::format("found {}, only {} parts are supported",
                                                     describe(type), wanted));
    }
    const Json words = member(part, "text");
    if (!words.is_string()) return wrong(name + ".text", words, "a string");
    for (const auto& [key, value] : part.items()) {
      const bool is_mark = key == "cache_control" || key == "citations" || key == "annotations" ||
                           key == "logprobs";  // parts of answers, and hints for caches
      if (key != "type" && key != "text" && !is_mark) {
        return unknown(name + "." + key, key, std::array<std::string, 2>{"type", "text"});
      }
    }
    if (i > 0) text += '\n';
    text += words.get_ref<const std::string&>();
  }
  return {};
}

Problem read_content(std::string_view param, const Json& value,
                     std::span<const std::string_view> types, std::string& text) {
  if (value.is_string()) {
    text = value.get<std::string>();
    return {};
  }
  if (value.is_array()) return read_parts(param, value, types, text);
  return wrong(param, value, kTextOrParts);
}

Json call_of(std::string id, std::string name, const Json& arguments) {
  Json given = arguments.is_null() ? Json::object() : arguments;
  if (given.is_string()) {
    const auto& text = given.get_ref<const std::string&>();
    Result<Json> parsed = parse_json(text.empty() ? "{}" : text);
    if (parsed && parsed->is_object()) given = std::move(*parsed);
  }
  return {{"id", std::move(id)},
          {"type", "function"},
          {"function", {{"name", std::move(name)}, {"arguments", std::move(given)}}}};
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
    const Json content = member(message, "content");
    // What a client keeps of an answer without text has none.
    if (role != "assistant" || !content.is_null()) {
      if (Problem problem = read_content(name + ".content", content, kTextParts, text)) {
        return problem;
      }
    }
    Json out{{"role", std::move(role)}, {"content", std::move(text)}};
    if (Problem problem = read_rest(name, message, out)) return problem;
    messages.push_back(std::move(out));
  }
  messages_json = to_text(messages);
  return {};
}

Problem add_function(std::string_view param, const Json& function, Json& list, AskedTools& tools) {
  if (!function.is_object()) return wrong(param, function, "an object with name and parameters");
  Json out = Json::object();
  for (const auto& [key, value] : function.items()) {
    const std::string name = fmt::format("{}.{}", param, key);
    if (key == "name") {
      if (!value.is_string() || value.get_ref<const std::string&>().empty() ||
          value.get_ref<const std::string&>().size() > kToolNameBytesMax) {
        return wrong(name, value, fmt::format("a name of 1 to {} bytes", kToolNameBytesMax));
      }
    } else if (value.is_null()) {
      continue;
    } else if (key == "strict") {
      if (Problem problem = only(name, value, false)) return problem;
      continue;
    } else if (key == "description") {
      if (!value.is_string()) return wrong(name, value, "a string");
    } else if (key == "parameters") {
      if (!value.is_object()) return wrong(name, value, "a JSON schema");
    } else {
      return unknown(name, key, std::array<std::string, 3>{"name", "description", "parameters"});
    }
    out[key] = value;
  }
  if (!out.contains("name")) return missing(fmt::format("{}.name", param), "a string");
  tools.names.push_back(out["name"].get<std::string>());
  list.push_back(Json{{"type", "function"}, {"function", std::move(out)}});
  return {};
}

Problem read_tools(std::string_view param, const Json& value, AskedTools& tools) {
  if (!value.is_array() || value.size() > kToolsMax) {
    return wrong(param, value, fmt::format("an array of at most {} tools", kToolsMax));
  }
  Json list = Json::array();
  for (size_t i = 0; i < value.size(); ++i) {
    const std::string name = fmt::format("{}[{}]", param, i);
    if (!value[i].is_object()) return wrong(name, value[i], "an object with a function");
    const Json type = member(value[i], "type");
    if (type != "function" && !type.is_null()) {
      return unsupported(name + ".type",
                         fmt::format("found {}, only \"function\" is supported", describe(type)));
    }
    if (Problem problem =
            add_function(name + ".function", member(value[i], "function"), list, tools)) {
      return problem;
    }
  }
  if (!list.empty()) tools.json = to_text(list);
  return {};
}

Problem read_tool_choice(std::string_view param, const Json& value, Reading& reading) {
  if (value == "auto") return {};
  if (value == "none") {
    reading.tools_off = true;
    return {};
  }
  return unsupported(
      param, fmt::format("found {}, only \"auto\" and \"none\" are supported: a call cannot be "
                         "forced",
                         describe(value)));
}

}  // namespace ration
