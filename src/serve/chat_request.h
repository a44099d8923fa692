// serve/chat_request.h - the body of POST /v1/chat/completions, every field checked. Private to
// serve/.
//
// A field we do not know, or know and do not do, is refused by its name; null is as if absent.
// To add a field: one row in the table of chat_request.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/unit.h"
#include "run/run.h"
#include "serve/api_error.h"

namespace ration {

struct ChatRequest {
  std::string model;           // "" when absent
  std::string messages_json;   // for the template: roles and plain text
  std::string arguments_json;  // chat_template_kwargs, or ""
  SamplerOptions sampler;
  std::optional<uint64_t> seed;
  std::vector<std::string> stops;
  std::optional<int64_t> tokens_max;
  std::optional<Millis> deadline;  // since the request came
  bool stream = false;
  bool include_usage = false;
  bool logprobs = false;
  bool ignore_end = false;
};

struct ChatDefaults {
  SamplerOptions sampler;  // what the request does not say
  int32_t vocabulary = 0;  // ids in logit_bias are below
};

// Bounded: body size by the caller, nesting by 32 levels, values in it by 200'000.
std::variant<ChatRequest, ApiError> parse_chat_request(std::string_view body,
                                                       const ChatDefaults& defaults);

}  // namespace ration
