#include "serve/chat_traits.h"

#include <fmt/core.h>

#include <array>

#include "base/clock.h"
#include "base/json.h"

namespace ration {
namespace {

struct ThinkMarks {
  std::string_view open;
  std::string_view close;
};
constexpr std::array kThinkMarks{
    ThinkMarks{"<think>", "</think>"},
    ThinkMarks{"[THINK]", "[/THINK]"},
};

// In order: the first whose sign is in the template counts.
struct CallSyntax {
  std::string_view sign;
  std::string_view open;  // "": this way of calling is not one we read
  std::string_view close;
};
constexpr std::array kCallSyntaxes{
    CallSyntax{"<function=", "", ""},                                // Qwen3-Coder's XML
    CallSyntax{"[ARGS]", "", ""},                                    // Mistral Small 3.2
    CallSyntax{"<tool_call>", "<tool_call>", "</tool_call>"},        // Hermes, Qwen, SmolLM3
    CallSyntax{"[TOOL_CALLS]", "[TOOL_CALLS]", ""},                  // Mistral
    CallSyntax{"<|tool_call|>", "<|tool_call|>", "<|/tool_call|>"},  // Granite 3
    CallSyntax{"<|tool|>", "<|tool_call|>", "<|/tool_call|>"},       // Phi-4-mini
    CallSyntax{"<|python_tag|>", "<|python_tag|>", ""},              // Llama 3.1
    CallSyntax{"\"parameters\": dictionary", "<|python_tag|>", ""},  // Llama 3.2
};

bool mentions(std::string_view source, std::string_view word) {
  return source.find(word) != std::string_view::npos;
}

void set_argument(Ask& ask, std::string_view name, const Json& value) {
  Json arguments = Json::object();
  if (!ask.arguments_json.empty()) {
    // Written by a face, from an object.
    if (Result<Json> parsed = parse_json(ask.arguments_json)) arguments = std::move(*parsed);
  }
  arguments[std::string(name)] = value;
  ask.arguments_json = to_text(arguments);
}

ApiError cannot(std::string_view param, std::string_view why) {
  return {.code = "unsupported_parameter",
          .message = fmt::format("{}: {}", param, why),
          .param = std::string(param)};
}

std::optional<ApiError> apply_thinking(const ChatTraits& traits, Ask& ask) {
  AskedThinking& thinking = ask.thinking;
  if (!thinking.effort.empty() && traits.reads_effort) {
    set_argument(ask, "reasoning_effort", thinking.effort);
  } else if (thinking.effort == "none") {
    thinking.on = false;
  } else if (!thinking.effort.empty()) {
    return cannot(thinking.param,
                  fmt::format("found \"{}\", but the model's chat template reads no effort",
                              thinking.effort));
  }
  if (!thinking.on) return std::nullopt;
  if (traits.switches_thinking) {
    set_argument(ask, "enable_thinking", *thinking.on);
  } else if (*thinking.on != traits.thinks()) {
    return cannot(thinking.param, *thinking.on ? "this model does not think"
                                               : "this model cannot answer without thinking");
  }
  return std::nullopt;
}

}  // namespace

ChatTraits chat_traits(std::string_view source) {
  ChatTraits traits;
  for (const ThinkMarks& marks : kThinkMarks) {
    if (!mentions(source, marks.close) || traits.thinks()) continue;
    traits.think_open = marks.open;
    traits.think_close = marks.close;
  }
  traits.switches_thinking = mentions(source, "enable_thinking");
  traits.reads_effort = mentions(source, "reasoning_effort");
  traits.reads_tools = mentions(source, "tools");
  for (const CallSyntax& syntax : kCallSyntaxes) {
    if (!traits.reads_tools || !mentions(source, syntax.sign)) continue;
    traits.knows_calls = !syntax.open.empty();
    traits.call_open = syntax.open;
    traits.call_close = syntax.close;
    break;
  }
  return traits;
}

ChatTraits chat_traits(const Model& model) {
  const Result<std::optional<std::string_view>> source =
      model.file().find_string("tokenizer.chat_template");
  ChatTraits traits = chat_traits(source && *source ? **source : std::string_view());
  for (const std::string& mark :
       {traits.think_open, traits.think_close, traits.call_open, traits.call_close}) {
    if (mark.empty()) continue;
    const std::vector<Token> tokens =
        model.tokenizer().encode(mark, {.add_special = false, .parse_special = true});
    if (tokens.size() == 1 && model.tokenizer().is_control(tokens[0])) {
      traits.marks.push_back(tokens[0]);
    }
  }
  return traits;
}

TemplateInput template_input(Ask& ask) {
  return {.messages_json = std::move(ask.messages_json),
          .tools_json = std::move(ask.tools.json),
          .arguments_json = std::move(ask.arguments_json),
          .now_unix_seconds = unix_seconds()};
}

std::optional<ApiError> apply_traits(const ChatTraits& traits, Ask& ask) {
  if (!ask.tools.json.empty() && !traits.reads_tools) {
    return cannot("tools", "the model's chat template has no place for tools");
  }
  if (!ask.tools.json.empty() && !traits.knows_calls) {
    return cannot("tools", "how this model writes its calls is not known");
  }
  return apply_thinking(traits, ask);
}

}  // namespace ration
