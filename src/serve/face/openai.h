// serve/face/openai.h - what the faces of OpenAI's API share. Private to serve/.
#pragma once

#include <string>
#include <string_view>

#include "serve/answer.h"
#include "serve/fields.h"

namespace ration {

// {"error": {"message", "type", "param", "code", ...}}
std::string openai_error(const ApiError& error);

// "stop", "length" or "tool_calls".
std::string_view openai_finish(Ending ending);

// {"prompt_tokens", ..., "ration": the bill}. prompt_tokens: each prompt counted once.
void append_openai_usage(std::string& out, int64_t prompt_tokens, const Bill& bill);

// A log-probability as JSON can write it: the least that other servers report stands for -infinity.
float shown_logprob(float logprob);

// [{"token", "logprob", "bytes", "top_logprobs": [...]}]
void append_token_list(std::string& out, std::span<const TokenReport> tokens);

// none, minimal, low, medium, high, xhigh or max.
Problem read_effort(std::string_view param, const Json& value, Reading& reading);
// The fields that chat and plain completions have in common, besides kCommonFields.
extern const Fields kOpenAiFields;
// Checks stream_options and max_tokens against the rest.
Problem check_openai(Reading& reading);

}  // namespace ration
