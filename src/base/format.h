// base/format.h - fmt's formatting that appends. fmt::format_to would compile the whole of fmt into
// each file that calls it: four seconds a unit.
#pragma once

#include <fmt/core.h>

#include <string>

namespace ration {

void append_formatted(std::string& out, fmt::string_view format, fmt::format_args values);

template <class... Values>
void append_format(std::string& out, fmt::format_string<Values...> format, Values&&... values) {
  append_formatted(out, format, fmt::make_format_args(values...));
}

}  // namespace ration
