#include "model/tokenizer/text_table.h"

#include <algorithm>

namespace ration {

void TextTable::reserve(size_t count, size_t bytes) {
  arena_.reserve(bytes);
  offsets_.reserve(count + 1);
  if (count > index_room_ && rebuild_index(count)) index_room_ = count;
}

TextTable::Added TextTable::add(std::string_view text) {
  if (find(text) != kNoId) return Added::kAlreadyThere;
  if (size() > kIndexIdMax || arena_.size() + text.size() > UINT32_MAX) return Added::kFull;
  if (size() >= index_room_) {
    const size_t room = std::max<size_t>(64, index_room_ + index_room_ / 4);
    if (!rebuild_index(room)) return Added::kFull;
    index_room_ = room;
  }
  if (!index_.insert(hash_text(text), size())) return Added::kFull;
  arena_ += text;
  offsets_.push_back(static_cast<uint32_t>(arena_.size()));
  return Added::kNew;
}

void TextTable::shrink() {
  arena_.shrink_to_fit();
  offsets_.shrink_to_fit();
}

bool TextTable::rebuild_index(size_t count_max) {
  index_.reset(count_max);
  for (uint32_t id = 0; id < size(); ++id) {
    if (!index_.insert(hash_text(text(id)), id)) return false;
  }
  return true;
}

}  // namespace ration
