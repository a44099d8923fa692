// serve/chat_response.h - answers of /v1/chat/completions as JSON, written by hand: a stream pays
// for every token. Private to serve/.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "measure/measure.h"
#include "run/run.h"

namespace ration {

// A token as `logprobs` reports it.
struct TokenReport {
  struct Alternative {
    std::string bytes;
    float logprob = 0;
  };
  std::string bytes;
  float logprob = 0;
  std::vector<Alternative> top;
};

// "stop" or "length"; what else there is has its own error.
std::string_view finish_reason_name(FinishReason reason);

// Writes one answer, whole or as events. single-thread.
class ChatWriter {
 public:
  struct Options {
    std::string id;              // "chatcmpl-..."
    std::string model;           // its name
    int64_t created = 0;         // seconds since 1970
    bool include_usage = false;  // in a stream: a last event with the bill
    bool logprobs = false;
  };
  explicit ChatWriter(Options options);

  // The whole answer as one object. tokens: empty unless options.logprobs.
  std::string whole(std::string_view text, std::span<const TokenReport> tokens, FinishReason reason,
                    const Bill& bill) const;

  // Events of a stream, appended with their "data: " and blank line.
  void append_role(std::string& out) const;
  void append_piece(std::string& out, std::string_view text,
                    std::span<const TokenReport> tokens) const;
  // Why it ended, the bill if asked for, and [DONE].
  void append_end(std::string& out, FinishReason reason, const Bill& bill) const;

 private:
  void append_choice_end(std::string& out, std::span<const TokenReport> tokens,
                         std::string_view finish) const;

  const Options options_;
  std::string chunk_head_;  // an event up to its choices
  std::string chunk_tail_;  // and from there
};

// {"error": ...} as an event: what goes wrong after the first byte.
void append_error_event(std::string& out, std::string_view error_json);

}  // namespace ration
