#include "model/template/text.h"

#include <algorithm>

#include "base/check.h"

namespace ration::jinja {

Origin Text::origin_at(size_t position) const {
  DCHECK(position < size());
  const auto after = std::upper_bound(flips_.begin(), flips_.end(), position);
  return origin_after(static_cast<size_t>(after - flips_.begin()));
}

void Text::append(std::string_view bytes, Origin origin) {
  if (bytes.empty()) return;
  if (bytes_.empty()) {
    first_ = origin;
  } else if (origin != origin_after(flips_.size())) {
    flips_.push_back(bytes_.size());
  }
  bytes_ += bytes;
}

void Text::append(const Text& other, size_t begin, size_t end) {
  DCHECK(begin <= end && end <= other.size());
  DCHECK(this != &other);
  const auto flips_end = other.flips_.end();
  auto flip = std::upper_bound(other.flips_.begin(), flips_end, begin);
  Origin origin = other.origin_after(static_cast<size_t>(flip - other.flips_.begin()));
  while (begin < end) {
    const size_t stop = flip == flips_end ? end : std::min(end, *flip);
    append(other.view().substr(begin, stop - begin), origin);
    begin = stop;
    if (flip != flips_end) ++flip;
    origin = other_of(origin);
  }
}

Text Text::slice(size_t begin, size_t end) const {
  Text part;
  part.append(*this, begin, end);
  return part;
}

Prompt Text::to_prompt() const {
  Prompt prompt;
  each_run([&prompt](std::string_view piece, Origin origin) {
    prompt.push_back({std::string(piece), origin == Origin::kTemplate});
  });
  return prompt;
}

}  // namespace ration::jinja
