// model/template/search.h - finding text in text in linear time, whatever the two texts are.
#pragma once

#include <cstddef>
#include <string_view>

namespace ration::jinja {

// First occurrence of `needle` at or after byte `from`; npos when there is none. An empty needle is
// found at `from`. REQUIRES: from <= text.size().
size_t find_text(std::string_view text, std::string_view needle, size_t from = 0);

// Last occurrence; an empty needle is found at the end.
size_t rfind_text(std::string_view text, std::string_view needle);

}  // namespace ration::jinja
