// serve/face/anthropic.h - what the two halves of Anthropic's face share: anthropic.cpp reads,
// anthropic_writer.cpp writes. Private to serve/.
#pragma once

#include <memory>
#include <string>

#include "serve/answer.h"
#include "serve/api_error.h"

namespace ration {

// {"type": "error", "error": {"type", "message", ...}}
std::string anthropic_error(const ApiError& error);

std::unique_ptr<AnswerWriter> write_message(AnswerHead head);

}  // namespace ration
