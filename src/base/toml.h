// base/toml.h - TOML at the edges, by toml++. Include it only where values are taken apart: it
// costs three seconds of compile time a unit.
#pragma once

#include <toml++/toml.h>

#include <string_view>

#include "base/result.h"

namespace ration {

// Parses a whole file. kInvalid says "ORIGIN, line N: what".
Result<toml::table> parse_toml(std::string_view text, std::string_view origin);

}  // namespace ration
