// serve/chat_traits.h - what a model's chat template says of how the model writes: whether it
// thinks first, and how it calls tools. Private to serve/.
//
// To add a way of calling: a row in the table of chat_traits.cpp; whatever stands between its marks
// is read as a JSON object, or a list of them, with a name and arguments.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"
#include "serve/api_error.h"
#include "serve/ask.h"

namespace ration {

struct ChatTraits {
  // Around the reasoning; "" for a model that does not think.
  std::string think_open;
  std::string think_close;
  bool switches_thinking = false;  // the template reads enable_thinking
  bool reads_effort = false;       // and reasoning_effort
  bool reads_tools = false;
  bool knows_calls = false;  // how the model writes a call is known, as follows
  std::string call_open;     // before a call
  std::string call_close;    // after it, or ""
  // Control tokens among the marks: an answer must show them, or nobody would see them.
  std::vector<Token> marks;

  bool thinks() const { return !think_close.empty(); }
};

// Of a template's source; `marks` stays empty.
ChatTraits chat_traits(std::string_view template_source);
ChatTraits chat_traits(const Model& model);

// Checks what is asked of a conversation, and says it in the template's variables. nullopt: fine.
std::optional<ApiError> apply_traits(const ChatTraits& traits, Ask& ask);

// The conversation as the template takes it; moved out of `ask`.
TemplateInput template_input(Ask& ask);

}  // namespace ration
