// serve/prepare_texts.h - preparing where vectors of texts are wanted. Private to prepare.cpp.
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "run/run.h"
#include "serve/api_error.h"
#include "serve/ask.h"
#include "serve/face/face.h"

namespace ration {

using Prompts = std::vector<std::vector<Token>>;

// An encoder writes nothing: chats and completions with it are refused by name.
std::optional<ApiError> check_kind(const Ask& ask, const ServedModel& served);

// The tokens of each text, cut where that is asked. context_length_exceeded names the text that is
// too long; invalid_value one that is empty, or more dimensions than there are.
// REQUIRES: ask.vectors.
std::variant<Prompts, ApiError> texts_to_embed(Ask& ask, const ServedModel& served);

// One request for all of them; none where there is no text.
std::vector<Request> request_of_texts(const Ask& ask, Prompts texts);

}  // namespace ration
