// serve/messages.h - conversations and tools, brought into the one shape that chat templates read:
// OpenAI's, with plain text as content and the arguments of a call as an object. Costs the JSON
// headers. Private to serve/.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "serve/fields.h"

namespace ration {

// OpenAI's and Ollama's conversations: "developer" becomes "system", lists of text parts become one
// text, reasoning has one name.
Problem read_messages(std::string_view param, const Json& value, std::string& messages_json);

// A string, or a list of parts of one of these types, joined by line ends.
Problem read_content(std::string_view param, const Json& value,
                     std::span<const std::string_view> types, std::string& text);
// The text parts of a list, joined by line ends.
Problem read_parts(std::string_view param, const Json& parts,
                   std::span<const std::string_view> types, std::string& text);

// {"id", "type": "function", "function": {"name", "arguments": {...}}}. arguments: an object, or
// the text of one; a text that is none stays as it is.
Json call_of(std::string id, std::string name, const Json& arguments);

// OpenAI's and Ollama's `tools`: [{"type": "function", "function": {...}}].
Problem read_tools(std::string_view param, const Json& value, AskedTools& tools);
// Adds a function to a list of tools. function: {"name", "description", "parameters", "strict"}.
Problem add_function(std::string_view param, const Json& function, Json& list, AskedTools& tools);
// OpenAI's `tool_choice`: "auto" and "none"; others cannot be enforced.
Problem read_tool_choice(std::string_view param, const Json& value, Reading& reading);

}  // namespace ration
