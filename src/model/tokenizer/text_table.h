// model/tokenizer/text_table.h - many short texts numbered from 0 and found by their bytes,
// compactly:
// one arena, one offset a text, and a flat hash index of 4 bytes a slot.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"

namespace ration {

// Ids below this fit the slots of TaggedIndex.
inline constexpr uint32_t kIndexIdMax = (1u << 22) - 2;
inline constexpr uint32_t kNoId = ~0u;

inline uint64_t mix_hash(uint64_t value) {
  const unsigned __int128 product =
      static_cast<unsigned __int128>(value ^ 0x2545f4914f6cdd1dull) * 0x9e3779b97f4a7c15ull;
  return static_cast<uint64_t>(product >> 64) ^ static_cast<uint64_t>(product);
}

inline uint64_t hash_text(std::string_view text) {
  uint64_t hash = mix_hash(text.size());
  const char* at = text.data();
  size_t left = text.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = mix_hash(hash ^ word);
  }
  uint64_t tail = 0;
  for (size_t i = 0; i < left; ++i) tail |= uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
  return left == 0 ? hash : mix_hash(hash ^ tail);
}

// Open addressing over ids whose keys are stored elsewhere. A slot holds 22 bits of id and 10 bits
// of the hash, so that nearly every probe that fails does so without touching the key. shared-const
// after the last insert().
class TaggedIndex {
 public:
  // Empties it and makes room for `count` ids.
  void reset(size_t count) { slots_.assign(count + count / 3 + 8, kEmpty); }
  void clear() { slots_ = {}; }

  // False when the keys collide so often that somebody must have made them to: give up.
  [[nodiscard]] bool insert(uint64_t hash, uint32_t id) {
    DCHECK(id <= kIndexIdMax && !slots_.empty());
    size_t at = place(hash);
    for (int probe = 0; probe < kProbesMax; ++probe) {
      if (slots_[at] == kEmpty) {
        slots_[at] = (id << kTagBits) | tag(hash);
        return true;
      }
      if (++at == slots_.size()) at = 0;
    }
    return false;
  }

  // The id whose key `equal(id)` confirms, or kNoId.
  template <class Equal>
  uint32_t find(uint64_t hash, const Equal& equal) const {
    if (slots_.empty()) return kNoId;
    const uint32_t wanted = tag(hash);
    for (size_t at = place(hash); slots_[at] != kEmpty;) {
      if ((slots_[at] & kTagMask) == wanted && equal(slots_[at] >> kTagBits)) {
        return slots_[at] >> kTagBits;
      }
      if (++at == slots_.size()) at = 0;
    }
    return kNoId;
  }

  size_t bytes() const { return slots_.capacity() * sizeof(uint32_t); }

 private:
  static constexpr uint32_t kEmpty = ~0u;
  static constexpr int kTagBits = 10;
  static constexpr uint32_t kTagMask = (1u << kTagBits) - 1;
  static constexpr int kProbesMax = 2000;

  static uint32_t tag(uint64_t hash) { return static_cast<uint32_t>(hash) & kTagMask; }
  size_t place(uint64_t hash) const {
    return static_cast<size_t>((static_cast<unsigned __int128>(hash) * slots_.size()) >> 64);
  }

  std::vector<uint32_t> slots_;
};

// shared-const after the last add().
class TextTable {
 public:
  enum class Added : uint8_t { kNew, kAlreadyThere, kFull };

  // Room for `count` texts of `bytes` in all, so that nothing is allocated twice.
  void reserve(size_t count, size_t bytes);
  // Gives `text` the next number. kFull: too many texts or texts made to collide; nothing changes.
  Added add(std::string_view text);
  // Frees what growing left over.
  void shrink();
  // find() never finds anything afterwards.
  void drop_index() { index_.clear(); }

  uint32_t size() const { return static_cast<uint32_t>(offsets_.size()) - 1; }
  std::string_view text(uint32_t id) const {
    DCHECK(id < size());
    return {arena_.data() + offsets_[id], offsets_[id + 1] - offsets_[id]};
  }
  uint32_t find(std::string_view wanted) const {
    return index_.find(hash_text(wanted), [&](uint32_t id) { return text(id) == wanted; });
  }
  size_t bytes() const {
    return arena_.capacity() + offsets_.capacity() * sizeof(uint32_t) + index_.bytes();
  }

 private:
  [[nodiscard]] bool rebuild_index(size_t count_max);

  std::string arena_;
  std::vector<uint32_t> offsets_ = {0};
  TaggedIndex index_;
  size_t index_room_ = 0;
};

}  // namespace ration
