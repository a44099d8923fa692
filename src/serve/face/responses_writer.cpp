// Answers of OpenAI's responses: a list of items, whole or as numbered events.
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "base/format.h"
#include "base/text.h"
#include "serve/face/openai.h"
#include "serve/face/responses.h"

namespace ration {
namespace {

class ResponseWriter final : public AnswerWriter {
 public:
  explicit ResponseWriter(AnswerHead head) : head_(std::move(head)) {}

  std::string whole(std::span<const AnswerChoice> choices, const Bill& bill) override {
    const AnswerChoice& said = choices.front();
    using Kind = AnswerPart::Kind;
    std::vector<AnswerPart> parts;
    if (!said.reasoning.empty())
      parts.push_back({.kind = Kind::kReasoning, .text = said.reasoning});
    if (!said.text.empty()) parts.push_back({.kind = Kind::kText, .text = said.text});
    for (const ToolCall& call : said.calls) {
      parts.push_back({.kind = Kind::kCall, .text = call.name, .id = call.id});
      parts.push_back({.kind = Kind::kArguments, .text = call.arguments});
    }
    std::string events;  // what a stream would have said
    piece(events, 0, parts, {});
    end_choice(events, 0, said.ending, "");
    return response(&bill) + "\n";
  }

  void start(std::string& out) override {
    begin(out, "response.created") += ",\"response\":" + response(nullptr);
    finish(out);
    begin(out, "response.in_progress") += ",\"response\":" + response(nullptr);
    finish(out);
  }

  void piece(std::string& out, int64_t, std::span<const AnswerPart> parts,
             std::span<const TokenReport>) override {
    for (const AnswerPart& part : parts) {
      const bool is_call = part.kind == AnswerPart::Kind::kCall;
      if (part.kind != AnswerPart::Kind::kArguments && (is_call || open_ != part.kind)) {
        leave(out);
        enter(out, part);
      }
      if (is_call) continue;
      text_ += part.text;
      (part.kind == AnswerPart::Kind::kReasoning ? reasoning_bytes_ : other_bytes_) +=
          part.text.size();
      begin(out, fmt::format("response.{}.delta", event_of_text()));
      append_place(out);
      out += ",\"delta\":";
      append_json_string(out, part.text);
      if (open_ == AnswerPart::Kind::kText) out += ",\"logprobs\":[]";
      finish(out);
    }
  }

  void end_choice(std::string& out, int64_t, Ending ending, std::string_view) override {
    ending_ = ending;
    leave(out);
  }

  void end(std::string& out, const Bill& bill) override {
    begin(out, ending_ == Ending::kLength ? "response.incomplete" : "response.completed") +=
        ",\"response\":" + response(&bill);
    finish(out);
  }

  void error(std::string& out, const ApiError& error) override {
    begin(out, "error") += ",\"code\":";
    append_json_string(out, error.code);
    out += ",\"message\":";
    append_json_string(out, error.message);
    out += ",\"param\":";
    append_json_string(out, error.param);
    finish(out);
  }

 private:
  std::string& begin(std::string& out, std::string_view type) {
    append_format(out, "event: {0}\ndata: {{\"type\":\"{0}\",\"sequence_number\":{1}", type,
                  sequence_++);
    return out;
  }
  static void finish(std::string& out) { out += "}\n\n"; }

  // Which item an event is about, and which part of it.
  void append_place(std::string& out) const {
    append_format(out, ",\"item_id\":\"{}\",\"output_index\":{}", item_id(), items_.size());
    if (open_ != AnswerPart::Kind::kCall) out += ",\"content_index\":0";
  }

  std::string_view event_of_text() const {
    switch (*open_) {
      case AnswerPart::Kind::kText:
        return "output_text";
      case AnswerPart::Kind::kReasoning:
        return "reasoning_text";
      default:
        return "function_call_arguments";
    }
  }

  std::string item_id() const {
    const std::string_view prefix = open_ == AnswerPart::Kind::kText        ? "msg"
                                    : open_ == AnswerPart::Kind::kReasoning ? "rs"
                                                                            : "fc";
    return fmt::format("{}_{}_{}", prefix, head_.id, items_.size());
  }

  // The text of the open item as a part of its content.
  std::string part_json(std::string_view text) const {
    std::string out =
        open_ == AnswerPart::Kind::kReasoning
            ? "{\"type\":\"reasoning_text\",\"text\":"
            : "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":";
    append_json_string(out, text);
    return out + "}";
  }

  // The open item; its text when it is done.
  std::string item_json(bool done) const {
    const std::string_view status = !done                        ? "in_progress"
                                    : ending_ == Ending::kLength ? "incomplete"
                                                                 : "completed";
    std::string out = fmt::format("{{\"id\":\"{}\",\"status\":\"{}\"", item_id(), status);
    if (open_ == AnswerPart::Kind::kCall) {
      out += ",\"type\":\"function_call\",\"call_id\":";
      append_json_string(out, call_id_);
      out += ",\"name\":";
      append_json_string(out, name_);
      out += ",\"arguments\":";
      append_json_string(out, text_);
      return out + "}";
    }
    out += open_ == AnswerPart::Kind::kReasoning
               ? ",\"type\":\"reasoning\",\"summary\":[],\"content\":["
               : ",\"type\":\"message\",\"role\":\"assistant\",\"content\":[";
    return out + (done ? part_json(text_) : "") + "]}";
  }

  void enter(std::string& out, const AnswerPart& part) {
    open_ = part.kind;
    text_.clear();
    call_id_ = part.id;
    name_ = part.kind == AnswerPart::Kind::kCall ? part.text : "";
    begin(out, "response.output_item.added");
    append_format(out, ",\"output_index\":{},\"item\":{}", items_.size(), item_json(false));
    finish(out);
    if (open_ == AnswerPart::Kind::kCall) return;
    begin(out, "response.content_part.added");
    append_place(out);
    out += ",\"part\":" + part_json("");
    finish(out);
  }

  void leave(std::string& out) {
    if (!open_) return;
    const bool is_call = open_ == AnswerPart::Kind::kCall;
    begin(out, fmt::format("response.{}.done", event_of_text()));
    append_place(out);
    out += is_call ? ",\"arguments\":" : ",\"text\":";
    append_json_string(out, text_);
    if (open_ == AnswerPart::Kind::kText) out += ",\"logprobs\":[]";
    if (is_call) {
      out += ",\"name\":";
      append_json_string(out, name_);
    }
    finish(out);
    if (!is_call) {
      begin(out, "response.content_part.done");
      append_place(out);
      out += ",\"part\":" + part_json(text_);
      finish(out);
    }
    const std::string item = item_json(true);
    begin(out, "response.output_item.done");
    append_format(out, ",\"output_index\":{},\"item\":{}", items_.size(), item);
    finish(out);
    items_.push_back(item);
    open_.reset();
  }

  // bill: null while the answer is being written.
  std::string response(const Bill* bill) const {
    const bool cut = bill && ending_ == Ending::kLength;
    std::string out = fmt::format(
        "{{\"id\":\"resp_{}\",\"object\":\"response\",\"created_at\":{},\"status\":\"{}\","
        "\"error\":null,\"incomplete_details\":{},\"model\":",
        head_.id, head_.created,
        !bill ? "in_progress"
        : cut ? "incomplete"
              : "completed",
        cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
    append_json_string(out, head_.model);
    out += "," + head_.repeated_json + ",\"output\":[";
    for (size_t i = 0; i < items_.size(); ++i) out += (i ? "," : "") + items_[i];
    out += "],\"usage\":";
    if (bill) {
      append_response_usage(out, *bill);
    } else {
      out += "null";
    }
    return out + "}";
  }

  void append_response_usage(std::string& out, const Bill& bill) const {
    // Tokens are counted for the whole answer; its reasoning has its share by bytes.
    const auto bytes = static_cast<double>(reasoning_bytes_ + other_bytes_);
    const double share = bytes > 0 ? static_cast<double>(reasoning_bytes_) / bytes : 0;
    append_format(out,
                  "{{\"input_tokens\":{},\"input_tokens_details\":{{\"cached_tokens\":{}}},"
                  "\"output_tokens\":{},\"output_tokens_details\":{{\"reasoning_tokens\":{}}},"
                  "\"total_tokens\":{},\"ration\":",
                  head_.prompt_tokens, bill.cached_tokens, bill.generated_tokens,
                  std::lround(share * static_cast<double>(bill.generated_tokens)),
                  head_.prompt_tokens + bill.generated_tokens);
    append_json(out, bill);
    out += '}';
  }

  const AnswerHead head_;
  int64_t sequence_ = 0;
  std::vector<std::string> items_;  // that are done, as JSON
  std::optional<AnswerPart::Kind> open_;
  std::string text_;  // of the open item
  std::string call_id_;
  std::string name_;
  size_t reasoning_bytes_ = 0;
  size_t other_bytes_ = 0;
  Ending ending_ = Ending::kEnd;
};

}  // namespace

std::unique_ptr<AnswerWriter> write_response(AnswerHead head) {
  return std::make_unique<ResponseWriter>(std::move(head));
}

}  // namespace ration
