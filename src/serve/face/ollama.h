// serve/face/ollama.h - what the parts of Ollama's face share: ollama.cpp reads, ollama_writer.cpp
// writes, ollama_pages.cpp tells of the model. Private to serve/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "serve/answer.h"
#include "serve/api_error.h"
#include "serve/fields.h"

namespace ration {

// {"error": "...", "code", "param"}
std::string ollama_error(const ApiError& error);

// Its options: sampling, num_ctx.
Problem read_ollama_options(std::string_view param, const Json& value, Reading& reading);

// "2026-01-31T12:00:00Z"
std::string ollama_time(int64_t unix_seconds);

std::unique_ptr<AnswerWriter> write_ollama_chat(AnswerHead head);
std::unique_ptr<AnswerWriter> write_ollama_text(AnswerHead head);

}  // namespace ration
