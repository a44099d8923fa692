// base/json.h - JSON at the edges, by nlohmann's library with key order kept. Include it only where
// values are really taken apart: it costs two seconds of compile time a unit.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ration {

using Json = nlohmann::ordered_json;

// Parses one complete value. kInvalid says where and why: bad syntax, nesting deeper than
// `depth_max`, duplicate keys in an object, or broken UTF-8.
Result<Json> parse_json(std::string_view text, int depth_max = 64);

// One line; invalid UTF-8 inside strings becomes U+FFFD, so this cannot fail.
std::string to_text(const Json& value);

}  // namespace ration
