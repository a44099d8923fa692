#include "serve/chat_response.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/text.h"
#include "serve/api_error.h"

namespace ration {
namespace {

// JSON has no infinity; the least that other servers report stands for it.
constexpr float kLeastLogprob = -9999.0f;

void append_token(std::string& out, std::string_view bytes, float logprob) {
  out += "{\"token\":";
  append_json_string(out, bytes);
  const float shown = std::isfinite(logprob) ? std::max(logprob, kLeastLogprob) : kLeastLogprob;
  fmt::format_to(std::back_inserter(out), ",\"logprob\":{:.7g},\"bytes\":[", shown);
  for (size_t i = 0; i < bytes.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "{}{}", i ? "," : "",
                   static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

void append_logprobs(std::string& out, std::span<const TokenReport> tokens) {
  out += "{\"content\":[";
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i) out += ',';
    append_token(out, tokens[i].bytes, tokens[i].logprob);
    out += ",\"top_logprobs\":[";
    for (size_t j = 0; j < tokens[i].top.size(); ++j) {
      if (j) out += ',';
      append_token(out, tokens[i].top[j].bytes, tokens[i].top[j].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null}";
}

void append_usage(std::string& out, const Bill& bill) {
  fmt::format_to(std::back_inserter(out),
                 "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},"
                 "\"prompt_tokens_details\":{{\"cached_tokens\":{}}},\"ration\":",
                 bill.prompt_tokens, bill.generated_tokens,
                 bill.prompt_tokens + bill.generated_tokens, bill.cached_tokens);
  append_json(out, bill);
  out += '}';
}

// {"id":...,"object":OBJECT,"created":...,"model":...,"system_fingerprint":...,"choices":
std::string head(const ChatWriter::Options& options, std::string_view object) {
  std::string out = "{\"id\":";
  append_json_string(out, options.id);
  fmt::format_to(std::back_inserter(out), ",\"object\":\"{}\",\"created\":{},\"model\":", object,
                 options.created);
  append_json_string(out, options.model);
  out += ",\"system_fingerprint\":\"ration-" RATION_VERSION "\",\"choices\":";
  return out;
}

}  // namespace

std::string_view finish_reason_name(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

ChatWriter::ChatWriter(Options options)
    : options_(std::move(options)),
      chunk_head_("data: " + head(options_, "chat.completion.chunk")),
      chunk_tail_(options_.include_usage ? ",\"usage\":null}\n\n" : "}\n\n") {}

std::string ChatWriter::whole(std::string_view text, std::span<const TokenReport> tokens,
                              FinishReason reason, const Bill& bill) const {
  std::string out = head(options_, "chat.completion");
  out += "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":";
  append_json_string(out, text);
  out += ",\"refusal\":null}";
  append_choice_end(out, tokens, finish_reason_name(reason));
  out += ",\"usage\":";
  append_usage(out, bill);
  out += "}\n";
  return out;
}

void ChatWriter::append_role(std::string& out) const {
  out += chunk_head_;
  out +=
      "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
      "\"logprobs\":null,\"finish_reason\":null}]";
  out += chunk_tail_;
}

void ChatWriter::append_piece(std::string& out, std::string_view text,
                              std::span<const TokenReport> tokens) const {
  out += chunk_head_;
  out += "[{\"index\":0,\"delta\":{\"content\":";
  append_json_string(out, text);
  out += '}';
  append_choice_end(out, tokens, "");
  out += chunk_tail_;
}

void ChatWriter::append_end(std::string& out, FinishReason reason, const Bill& bill) const {
  out += chunk_head_;
  fmt::format_to(std::back_inserter(out),
                 "[{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"{}\"}}]{}",
                 finish_reason_name(reason), chunk_tail_);
  if (options_.include_usage) {
    out += chunk_head_;
    out += "[],\"usage\":";
    append_usage(out, bill);
    out += "}\n\n";
  }
  out += "data: [DONE]\n\n";
}

void ChatWriter::append_choice_end(std::string& out, std::span<const TokenReport> tokens,
                                   std::string_view finish) const {
  out += ",\"logprobs\":";
  if (options_.logprobs) {
    append_logprobs(out, tokens);
  } else {
    out += "null";
  }
  out += ",\"finish_reason\":";
  if (finish.empty()) {
    out += "null}]";
  } else {
    fmt::format_to(std::back_inserter(out), "\"{}\"}}]", finish);
  }
}

void append_error_event(std::string& out, std::string_view error_json) {
  out += "data: ";
  out += error_json;
  out += "\n\n";
}

std::string_view error_type(int status) {
  switch (status) {
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 500:
      return "server_error";
    case 503:
    case 504:
      return "unavailable_error";
    default:
      return "invalid_request_error";
  }
}

std::string to_json(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  append_json_string(out, error.message);
  out += ",\"type\":";
  append_json_string(out, error.type);
  out += ",\"param\":";
  if (error.param.empty()) {
    out += "null";
  } else {
    append_json_string(out, error.param);
  }
  out += ",\"code\":";
  append_json_string(out, error.code);
  const auto append_shortfall = [&](const std::optional<Shortfall>& shortfall,
                                    std::string_view unit) {
    if (!shortfall) return;
    fmt::format_to(std::back_inserter(out), ",\"needed_{0}\":{1},\"available_{0}\":{2}", unit,
                   shortfall->wanted, shortfall->available);
  };
  append_shortfall(error.bytes, "bytes");
  append_shortfall(error.tokens, "tokens");
  out += "}}";
  return out;
}

}  // namespace ration
