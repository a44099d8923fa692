// OpenAI's chat completions: POST /v1/chat/completions.
#include <fmt/format.h>

#include <array>

#include "base/format.h"
#include "base/text.h"
#include "serve/face/face.h"
#include "serve/face/openai.h"
#include "serve/messages.h"

namespace ration {
namespace {

constexpr int64_t kTopLogprobs = 20;

// ---------------------------------------------------------------------------------------- reading

Problem read_response_format(std::string_view param, const Json& value, Reading&) {
  if (!value.is_object()) return wrong(param, value, "an object");
  if (value == Json{{"type", "text"}}) return {};
  const auto type = value.find("type");
  return unsupported(param, fmt::format("found the type {}, only \"text\" is supported",
                                        type == value.end() ? "nothing" : describe(*type)));
}

// Variables for the template; what the template is told by us cannot be said by a request.
Problem read_template_arguments(std::string_view param, const Json& value, Reading& reading) {
  if (!value.is_object()) return wrong(param, value, "an object");
  for (const auto& [key, item] : value.items()) {
    for (std::string_view ours :
         {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}) {
      if (key == ours) {
        return unsupported(fmt::format("{}.{}", param, key), "this variable cannot be replaced");
      }
    }
  }
  reading.ask.arguments_json = to_text(value);
  return {};
}

Problem read_reasoning_format(std::string_view param, const Json& value, Reading& reading) {
  if (value == "auto" || value == "deepseek") return {};
  if (value != "none") return wrong(param, value, "auto, deepseek or none");
  reading.ask.thinking.split = false;
  return {};
}

constexpr std::array kChatFields{
    Field{"messages",
          [](std::string_view param, const Json& value, Reading& reading) {
            return read_messages(param, value, reading.ask.messages_json);
          }},
    Field{"logprobs", [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.logprobs); }},
    Field{"top_logprobs",
          [](auto p, auto& v, auto& r) {
            return read_integer(p, v, 0, kTopLogprobs, r.top_logprobs.emplace());
          }},
    Field{"chat_template_kwargs", read_template_arguments},
    Field{"tools", [](auto p, auto& v, auto& r) { return read_tools(p, v, r.ask.tools); }},
    Field{"tool_choice", read_tool_choice},
    Field{"parallel_tool_calls",
          [](auto p, auto& v, auto& r) { return read_bool(p, v, r.ask.tools.parallel); }},
    Field{"reasoning_effort", read_effort},
    Field{"reasoning_format", read_reasoning_format},
    Field{"response_format", read_response_format},
    // One way of doing it, which may be asked for.
    Field{"modalities", [](auto p, auto& v, auto&) { return only(p, v, Json::array({"text"})); }},
    Field{"functions", [](auto p, auto& v, auto&) { return only(p, v, Json::array()); }},
    Field{"function_call", [](auto p, auto& v, auto&) { return only(p, v, "none"); }},
};

constexpr std::array<std::string_view, 18> kChatRefused{"reasoning",
                                                        "verbosity",
                                                        "audio",
                                                        "prediction",
                                                        "web_search_options",
                                                        "moderation",
                                                        "grammar",
                                                        "json_schema",
                                                        "lora",
                                                        "best_of",
                                                        "use_beam_search",
                                                        "guided_json",
                                                        "guided_regex",
                                                        "guided_choice",
                                                        "guided_grammar",
                                                        "min_tokens",
                                                        "echo",
                                                        "prompt_cache_retention"};

std::variant<Ask, ApiError> read_chat(std::string_view body, const AskDefaults& defaults) {
  std::variant<Json, ApiError> parsed = parse_body(body);
  if (ApiError* error = std::get_if<ApiError>(&parsed)) return std::move(*error);
  const Json& object = std::get<Json>(parsed);
  Reading reading{.ask = {.sampler = defaults.sampler}, .defaults = defaults};
  Problem problem =
      read_fields(object, "", {kChatFields, kOpenAiFields, kCommonFields}, kChatRefused, reading);
  if (!problem && reading.ask.messages_json.empty()) {
    problem = missing("messages", "a conversation");
  }
  if (!problem && reading.top_logprobs && !reading.ask.logprobs) {
    problem = conflict("top_logprobs", "only with \"logprobs\": true");
  }
  if (!problem) problem = check_openai(reading);
  if (problem) return std::move(*problem);
  reading.ask.sampler.top_logprobs = static_cast<int32_t>(reading.top_logprobs.value_or(0));
  return finish_reading(reading);
}

// ---------------------------------------------------------------------------------------- writing

// {"id":"...","type":"function","function":{"name":"...","arguments":"..."}
void append_call(std::string& out, std::string_view id, std::string_view name,
                 std::string_view arguments) {
  out += "\"id\":";
  append_json_string(out, id);
  out += ",\"type\":\"function\",\"function\":{\"name\":";
  append_json_string(out, name);
  out += ",\"arguments\":";
  append_json_string(out, arguments);
  out += "}}";
}

class ChatWriter final : public AnswerWriter {
 public:
  explicit ChatWriter(AnswerHead head)
      : head_(std::move(head)),
        chunk_head_("data: " + open("chat.completion.chunk")),
        chunk_tail_(head_.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n"),
        said_role_(static_cast<size_t>(head_.choices)) {}

  std::string whole(std::span<const AnswerChoice> choices, const Bill& bill) override {
    std::string out = open("chat.completion");
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i) out += ',';
      append_choice(out, i, choices[i]);
    }
    out += "],\"usage\":";
    append_openai_usage(out, head_.prompt_tokens, bill);
    out += "}\n";
    return out;
  }

  void piece(std::string& out, int64_t choice, std::span<const AnswerPart> parts,
             std::span<const TokenReport> tokens) override {
    say_role(out, choice);
    // Log-probabilities go with the first part; tokens whose text is held back have none.
    if (parts.empty()) append_delta(out, choice, "\"content\":\"\"", tokens);
    for (const AnswerPart& part : parts) {
      std::string delta;
      switch (part.kind) {
        case AnswerPart::Kind::kText:
          delta = "\"content\":";
          append_json_string(delta, part.text);
          break;
        case AnswerPart::Kind::kReasoning:
          delta = "\"reasoning_content\":";
          append_json_string(delta, part.text);
          break;
        case AnswerPart::Kind::kCall:
          delta = fmt::format("\"tool_calls\":[{{\"index\":{},", part.call);
          append_call(delta, part.id, part.text, "");
          delta += ']';
          break;
        case AnswerPart::Kind::kArguments:
          delta = fmt::format("\"tool_calls\":[{{\"index\":{},\"function\":{{\"arguments\":",
                              part.call);
          append_json_string(delta, part.text);
          delta += "}}]";
          break;
      }
      append_delta(out, choice, delta, tokens);
      tokens = {};
    }
  }

  void end_choice(std::string& out, int64_t choice, Ending ending, std::string_view) override {
    say_role(out, choice);
    out += chunk_head_;
    append_format(out, "{{\"index\":{},\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"{}\"}}",
                  choice, openai_finish(ending));
    out += chunk_tail_;
  }

  void end(std::string& out, const Bill& bill) override {
    if (head_.include_usage) {
      out += chunk_head_;
      out += "],\"usage\":";
      append_openai_usage(out, head_.prompt_tokens, bill);
      out += "}\n\n";
    }
    out += "data: [DONE]\n\n";
  }

  void error(std::string& out, const ApiError& error) override {
    out += "data: " + openai_error(error) + "\n\n";
  }

 private:
  // An object up to its choices.
  std::string open(std::string_view object) const {
    std::string out = "{\"id\":";
    append_json_string(out, "chatcmpl-" + head_.id);
    append_format(out, ",\"object\":\"{}\",\"created\":{},\"model\":", object, head_.created);
    append_json_string(out, head_.model);
    out += ",\"system_fingerprint\":\"ration-" RATION_VERSION "\",\"choices\":[";
    return out;
  }

  void append_choice(std::string& out, size_t index, const AnswerChoice& choice) const {
    append_format(out, "{{\"index\":{},\"message\":{{\"role\":\"assistant\",\"content\":", index);
    if (choice.text.empty() && !choice.calls.empty()) {
      out += "null";
    } else {
      append_json_string(out, choice.text);
    }
    if (!choice.reasoning.empty()) {
      out += ",\"reasoning_content\":";
      append_json_string(out, choice.reasoning);
    }
    for (size_t i = 0; i < choice.calls.size(); ++i) {
      out += i ? ",{" : ",\"tool_calls\":[{";
      append_call(out, choice.calls[i].id, choice.calls[i].name, choice.calls[i].arguments);
    }
    if (!choice.calls.empty()) out += ']';
    out += ",\"refusal\":null},\"logprobs\":";
    append_logprobs_of(out, choice.tokens);
    append_format(out, ",\"finish_reason\":\"{}\"}}", openai_finish(choice.ending));
  }

  void append_logprobs_of(std::string& out, std::span<const TokenReport> tokens) const {
    if (head_.logprobs) {
      out += "{\"content\":";
      append_token_list(out, tokens);
      out += ",\"refusal\":null}";
    } else {
      out += "null";
    }
  }

  void say_role(std::string& out, int64_t choice) {
    if (said_role_[static_cast<size_t>(choice)]) return;
    said_role_[static_cast<size_t>(choice)] = true;
    out += chunk_head_;
    append_format(out,
                  "{{\"index\":{},\"delta\":{{\"role\":\"assistant\",\"content\":\"\","
                  "\"refusal\":null}},\"logprobs\":null,\"finish_reason\":null}}",
                  choice);
    out += chunk_tail_;
  }

  void append_delta(std::string& out, int64_t choice, std::string_view delta,
                    std::span<const TokenReport> tokens) const {
    out += chunk_head_;
    append_format(out, "{{\"index\":{},\"delta\":{{{}}},\"logprobs\":", choice, delta);
    append_logprobs_of(out, tokens);
    out += ",\"finish_reason\":null}";
    out += chunk_tail_;
  }

  const AnswerHead head_;
  const std::string chunk_head_;  // an event up to its choice
  const std::string chunk_tail_;  // and from there
  std::vector<bool> said_role_;   // of each choice
};

std::unique_ptr<AnswerWriter> write_chat(AnswerHead head) {
  return std::make_unique<ChatWriter>(std::move(head));
}

}  // namespace

const Face kOpenAiChat{.error = openai_error, .read = read_chat, .writer = write_chat};

}  // namespace ration
