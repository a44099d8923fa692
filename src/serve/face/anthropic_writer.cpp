// Answers of Anthropic's messages: content blocks, whole or as events.
#include <fmt/format.h>

#include <optional>

#include "base/format.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/face/anthropic.h"

namespace ration {
namespace {

std::string_view error_kind(int status) {
  switch (status) {
    case 413:
      return "request_too_large";
    case 500:
      return "api_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return error_type(status);
  }
}

std::string_view stop_reason(Ending ending) {
  switch (ending) {
    case Ending::kEnd:
      return "end_turn";
    case Ending::kStopString:
      return "stop_sequence";
    case Ending::kLength:
      return "max_tokens";
    case Ending::kCalls:
      return "tool_use";
  }
  return "end_turn";
}

// "stop_reason":"...","stop_sequence":...
void append_stop(std::string& out, Ending ending, std::string_view stop) {
  append_format(out, "\"stop_reason\":\"{}\",\"stop_sequence\":", stop_reason(ending));
  if (ending == Ending::kStopString) {
    append_json_string(out, stop);
  } else {
    out += "null";
  }
}

// Prompt tokens that were not cached, and the others.
void append_message_usage(std::string& out, int64_t prompt_tokens, const Bill& bill) {
  append_format(out,
                "{{\"input_tokens\":{},\"cache_creation_input_tokens\":0,"
                "\"cache_read_input_tokens\":{},\"output_tokens\":{}",
                prompt_tokens - bill.cached_tokens, bill.cached_tokens, bill.generated_tokens);
}

// Arguments of a call that was cut off are no JSON: then there are none.
std::string_view whole_object(std::string_view arguments) {
  const Result<Json> parsed = parse_json(arguments);
  return parsed && parsed->is_object() ? arguments : "{}";
}

class MessageWriter final : public AnswerWriter {
 public:
  explicit MessageWriter(AnswerHead head) : head_(std::move(head)) {}

  std::string whole(std::span<const AnswerChoice> choices, const Bill& bill) override {
    const AnswerChoice& answer = choices.front();
    std::string out = open();
    if (!answer.reasoning.empty()) {
      out += "{\"type\":\"thinking\",\"signature\":\"\",\"thinking\":";
      append_json_string(out, answer.reasoning);
      out += "},";
    }
    if (!answer.text.empty()) {
      out += "{\"type\":\"text\",\"text\":";
      append_json_string(out, answer.text);
      out += "},";
    }
    for (const ToolCall& call : answer.calls) {
      append_tool_use(out, call.id, call.name);
      out += whole_object(call.arguments);
      out += "},";
    }
    if (out.ends_with(',')) out.pop_back();
    out += "],";
    append_stop(out, answer.ending, answer.stop);
    out += ",\"usage\":";
    append_message_usage(out, head_.prompt_tokens, bill);
    out += ",\"ration\":";
    append_json(out, bill);
    out += "}}\n";
    return out;
  }

  void start(std::string& out) override {
    out += "event: message_start\ndata: {\"type\":\"message_start\",\"message\":" + open() +
           "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":";
    append_message_usage(out, head_.prompt_tokens, Bill{});
    out += "}}}\n\n";
  }

  void piece(std::string& out, int64_t, std::span<const AnswerPart> parts,
             std::span<const TokenReport>) override {
    for (const AnswerPart& part : parts) {
      switch (part.kind) {
        case AnswerPart::Kind::kText:
          enter(out, part.kind, "{\"type\":\"text\",\"text\":\"\"}");
          append_delta(out, "text_delta", "text", part.text);
          break;
        case AnswerPart::Kind::kReasoning:
          enter(out, part.kind, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
          append_delta(out, "thinking_delta", "thinking", part.text);
          break;
        case AnswerPart::Kind::kCall: {
          leave(out);
          std::string block;
          append_tool_use(block, part.id, part.text);
          enter(out, part.kind, block + "{}}");
          break;
        }
        case AnswerPart::Kind::kArguments:
          append_delta(out, "input_json_delta", "partial_json", part.text);
          break;
      }
    }
  }

  void end_choice(std::string& out, int64_t, Ending ending, std::string_view stop) override {
    leave(out);
    append_stop(stop_, ending, stop);
  }

  void end(std::string& out, const Bill& bill) override {
    out += "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{" + stop_ +
           "},\"usage\":";
    append_message_usage(out, head_.prompt_tokens, bill);
    out += ",\"ration\":";
    append_json(out, bill);
    out += "}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
  }

  void error(std::string& out, const ApiError& error) override {
    out += "event: error\ndata: " + anthropic_error(error) + "\n\n";
  }

  void ping(std::string& out) override { out += "event: ping\ndata: {\"type\":\"ping\"}\n\n"; }

 private:
  // A message up to its content.
  std::string open() const {
    std::string out = "{\"id\":";
    append_json_string(out, "msg_" + head_.id);
    out += ",\"type\":\"message\",\"role\":\"assistant\",\"model\":";
    append_json_string(out, head_.model);
    out += ",\"content\":[";
    return out;
  }

  // Up to the input.
  static void append_tool_use(std::string& out, std::string_view id, std::string_view name) {
    out += "{\"type\":\"tool_use\",\"id\":";
    append_json_string(out, id);
    out += ",\"name\":";
    append_json_string(out, name);
    out += ",\"input\":";
  }

  // Opens a block unless one of this kind is open.
  void enter(std::string& out, AnswerPart::Kind kind, std::string_view block) {
    if (block_ == kind) return;
    leave(out);
    block_ = kind;
    append_format(out,
                  "event: content_block_start\ndata: {{\"type\":\"content_block_start\","
                  "\"index\":{},\"content_block\":{}}}\n\n",
                  index_, block);
  }

  void leave(std::string& out) {
    if (!block_) return;
    block_.reset();
    append_format(out,
                  "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\","
                  "\"index\":{}}}\n\n",
                  index_++);
  }

  void append_delta(std::string& out, std::string_view type, std::string_view name,
                    std::string_view text) const {
    append_format(out,
                  "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\","
                  "\"index\":{},\"delta\":{{\"type\":\"{}\",\"{}\":",
                  index_, type, name);
    append_json_string(out, text);
    out += "}}\n\n";
  }

  const AnswerHead head_;
  std::optional<AnswerPart::Kind> block_;  // the one that is open
  int index_ = 0;                          // its number, or that of the next
  std::string stop_;                       // why it ended, as JSON
};

}  // namespace

std::unique_ptr<AnswerWriter> write_message(AnswerHead head) {
  return std::make_unique<MessageWriter>(std::move(head));
}

std::string anthropic_error(const ApiError& error) {
  std::string out = fmt::format("{{\"type\":\"error\",\"error\":{{\"type\":\"{}\",\"message\":",
                                error_kind(error.status));
  append_json_string(out, error.message);
  out += ",\"code\":";
  append_json_string(out, error.code);
  if (!error.param.empty()) {
    out += ",\"param\":";
    append_json_string(out, error.param);
  }
  out += "}}";
  return out;
}

}  // namespace ration
