#include "model/template/search.h"

#include <cstring>
#include <string>

#include "base/check.h"

namespace ration::jinja {

size_t find_text(std::string_view text, std::string_view needle, size_t from) {
  DCHECK(from <= text.size());
  if (needle.empty()) return from;
  if (needle.size() > text.size() - from) return std::string_view::npos;
  // std::string_view::find is quadratic at worst; glibc's memmem is not.
  const void* found = memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  if (!found) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t rfind_text(std::string_view text, std::string_view needle) {
  if (needle.size() <= 16) return text.rfind(needle);
  const std::string backwards(text.rbegin(), text.rend());
  const std::string wanted(needle.rbegin(), needle.rend());
  const size_t found = find_text(backwards, wanted);
  return found == std::string_view::npos ? found : text.size() - found - needle.size();
}

}  // namespace ration::jinja
