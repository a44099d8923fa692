// Answers of Ollama's API: one JSON object a line, the last one with counts and durations.
#include <fmt/format.h>

#include <ctime>

#include "base/format.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/face/ollama.h"
#include "serve/face/openai.h"

namespace ration {
namespace {

int64_t nanoseconds(Millis span) { return static_cast<int64_t>(span.count * 1e6); }

// "total_duration":...,... of the bill, with the bill itself.
void append_counts(std::string& out, const Bill& bill) {
  append_format(out,
                "\"total_duration\":{},\"load_duration\":{},\"prompt_eval_count\":{},"
                "\"prompt_eval_duration\":{},\"eval_count\":{},\"eval_duration\":{},\"ration\":",
                nanoseconds(bill.queue + bill.load + bill.prefill + bill.decode),
                nanoseconds(bill.load), bill.prompt_tokens, nanoseconds(bill.prefill),
                bill.generated_tokens, nanoseconds(bill.decode));
  append_json(out, bill);
}

// A call is told whole; one that was cut off in its arguments is not told.
bool append_ollama_call(std::string& out, const ToolCall& call) {
  const Result<Json> arguments = parse_json(call.arguments);
  if (!arguments || !arguments->is_object()) return false;
  out += "{\"id\":";
  append_json_string(out, call.id);
  out += ",\"function\":{\"name\":";
  append_json_string(out, call.name);
  out += ",\"arguments\":" + to_text(*arguments) + "}}";
  return true;
}

class OllamaWriter final : public AnswerWriter {
 public:
  OllamaWriter(AnswerHead head, bool chats) : head_(std::move(head)), chats_(chats) {}

  std::string_view stream_type() const override { return "application/x-ndjson"; }

  std::string whole(std::span<const AnswerChoice> choices, const Bill& bill) override {
    AnswerChoice said = choices.empty() ? AnswerChoice{} : choices.front();
    std::string out = open();
    append_words(out, said);
    append_logprobs_line(out, said.tokens);
    out += ",\"done\":true,\"done_reason\":";
    if (choices.empty()) return out + (head_.unloads ? "\"unload\"}\n" : "\"load\"}\n");
    out += said.ending == Ending::kLength ? "\"length\"," : "\"stop\",";
    append_counts(out, bill);
    out += "}\n";
    return out;
  }

  void piece(std::string& out, int64_t, std::span<const AnswerPart> parts,
             std::span<const TokenReport> tokens) override {
    AnswerChoice said;
    for (const AnswerPart& part : parts) {
      if (part.kind == AnswerPart::Kind::kCall) {
        if (call_) said.calls.push_back(std::move(*call_));
        call_ = ToolCall{.id = part.id, .name = part.text, .arguments = {}};
      } else if (part.kind == AnswerPart::Kind::kArguments) {
        call_->arguments += part.text;
      } else {
        said.add(part);
      }
    }
    append_line(out, said, tokens);
  }

  void end_choice(std::string& out, int64_t, Ending ending, std::string_view) override {
    ending_ = ending;
    if (!call_) return;
    AnswerChoice said;
    said.calls.push_back(std::move(*call_));
    call_.reset();
    append_line(out, said, {});
  }

  void end(std::string& out, const Bill& bill) override {
    out += open();
    append_words(out, {});
    append_format(out, ",\"done\":true,\"done_reason\":\"{}\",",
                  ending_ == Ending::kLength ? "length" : "stop");
    append_counts(out, bill);
    out += "}\n";
  }

  void error(std::string& out, const ApiError& error) override {
    out += ollama_error(error) + "\n";
  }
  // Clients take every line for an answer.
  void ping(std::string&) override {}

 private:
  // A line up to its words.
  std::string open() const {
    std::string out = "{\"model\":";
    append_json_string(out, head_.model);
    out += ",\"created_at\":\"" + ollama_time(head_.created) + "\",";
    return out;
  }

  void append_line(std::string& out, const AnswerChoice& said,
                   std::span<const TokenReport> tokens) const {
    if (said.text.empty() && said.reasoning.empty() && said.calls.empty() && tokens.empty()) return;
    out += open();
    append_words(out, said);
    append_logprobs_line(out, tokens);
    out += ",\"done\":false}\n";
  }

  void append_words(std::string& out, const AnswerChoice& said) const {
    out += chats_ ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"response\":";
    append_json_string(out, said.text);
    if (!said.reasoning.empty()) {
      out += ",\"thinking\":";
      append_json_string(out, said.reasoning);
    }
    std::string calls;
    for (const ToolCall& call : said.calls) {
      std::string one;
      if (!append_ollama_call(one, call)) continue;
      calls += (calls.empty() ? "" : ",") + one;
    }
    if (!calls.empty()) out += ",\"tool_calls\":[" + calls + "]";
    if (chats_) out += '}';
  }

  void append_logprobs_line(std::string& out, std::span<const TokenReport> tokens) const {
    if (!head_.logprobs) return;
    out += ",\"logprobs\":";
    append_token_list(out, tokens);
  }

  const AnswerHead head_;
  const bool chats_;
  std::optional<ToolCall> call_;  // whose arguments are still coming
  Ending ending_ = Ending::kEnd;
};

}  // namespace

std::unique_ptr<AnswerWriter> write_ollama_chat(AnswerHead head) {
  return std::make_unique<OllamaWriter>(std::move(head), /*chats=*/true);
}
std::unique_ptr<AnswerWriter> write_ollama_text(AnswerHead head) {
  return std::make_unique<OllamaWriter>(std::move(head), /*chats=*/false);
}

std::string ollama_time(int64_t unix_seconds) {
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string ollama_error(const ApiError& error) {
  std::string out = "{\"error\":";
  append_json_string(out, error.message);
  out += ",\"code\":";
  append_json_string(out, error.code);
  if (!error.param.empty()) {
    out += ",\"param\":";
    append_json_string(out, error.param);
  }
  out += "}";
  return out;
}

}  // namespace ration
