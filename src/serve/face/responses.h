// serve/face/responses.h - what the two halves of OpenAI's responses share: responses.cpp reads,
// responses_writer.cpp writes. Private to serve/.
#pragma once

#include <memory>

#include "serve/answer.h"

namespace ration {

std::unique_ptr<AnswerWriter> write_response(AnswerHead head);

}  // namespace ration
