#include "model/tokenizer/merge.h"

#include "model/tokenizer/characters.h"

namespace ration {

void Neighbours::add(std::string_view text) {
  uint32_t left = 0;
  for (size_t at = 0; at < text.size();) {
    const std::string_view character = text.substr(at, stated_length(text[at]));
    const uint32_t right = key(character);
    if (at > 0) {
      const size_t bit = place(left, right);
      bits_[bit / 64] |= uint64_t{1} << (bit % 64);
    }
    left = right;
    at += character.size();
  }
}

}  // namespace ration
