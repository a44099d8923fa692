// serve/chat_messages.h - the messages of a chat request, and the words of refusals. Costs the JSON
// headers. Private to serve/.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "serve/api_error.h"

namespace ration {

// Why a request is refused; nullopt when it is fine.
using Problem = std::optional<ApiError>;

// A value as a message shows it: cut short, with its kind where that says more.
std::string describe(const Json& value);
// 400 invalid_value: "temperature: found "hot", wanted a number from 0 to 100".
Problem wrong(std::string_view param, const Json& found, std::string_view wanted);
// 400 unsupported_parameter.
Problem unsupported(std::string_view param, std::string_view why);
// 400 unknown_parameter, with the nearest of `known`.
Problem unknown(std::string_view param, std::string_view name, std::span<const std::string> known);

// Checks a conversation and writes it as templates want it: "developer" becomes "system", lists of
// text parts become one text.
Problem read_messages(std::string_view param, const Json& value, std::string& messages_json);

}  // namespace ration
