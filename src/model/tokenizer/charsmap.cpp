#include "model/tokenizer/charsmap.h"

#include <fmt/core.h>

#include <cstring>

namespace ration {

namespace {

// A node of the double array in one word, as the Darts library packs it: bits 0-7 the byte that
// leads here, bit 8 whether a value hangs below, bits 10-30 the offset to the children (in units of
// 256 when bit 9 is set). A word with bit 31 set is a value.
constexpr uint32_t kValueBit = 1u << 31;
uint32_t children_of(uint32_t node) { return (node >> 10) << ((node & (1u << 9)) >> 6); }
uint32_t label_of(uint32_t node) { return node & (kValueBit | 0xff); }
bool has_value(uint32_t node) { return ((node >> 8) & 1) != 0; }

}  // namespace

Result<Charsmap> Charsmap::make(std::span<const std::byte> table) {
  const auto corrupt = [](std::string message) {
    return Error{Code::kCorrupt, "tokenizer.ggml.precompiled_charsmap: " + std::move(message)};
  };
  Charsmap map;
  if (table.empty()) return map;
  uint32_t trie_bytes = 0;
  if (table.size() < sizeof(trie_bytes)) {
    return corrupt(fmt::format("found {} bytes, wanted at least 4", table.size()));
  }
  std::memcpy(&trie_bytes, table.data(), sizeof(trie_bytes));
  table = table.subspan(sizeof(trie_bytes));
  if (trie_bytes >= table.size() || trie_bytes % sizeof(uint32_t) != 0) {
    return corrupt(fmt::format("found a trie of {} bytes, wanted a multiple of 4 below {}",
                               trie_bytes, table.size()));
  }
  if (table.back() != std::byte{0}) return corrupt("found a last replacement without an end");
  map.trie_.resize(trie_bytes / sizeof(uint32_t));
  if (trie_bytes > 0) std::memcpy(map.trie_.data(), table.data(), trie_bytes);
  const std::span<const std::byte> rest = table.subspan(trie_bytes);
  map.replacements_.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
  return map;
}

Charsmap::Match Charsmap::longest(std::string_view text) const {
  Match match;
  if (trie_.empty()) return match;
  uint32_t at = children_of(trie_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= trie_.size() || label_of(trie_[at]) != byte) break;
    const bool ends_here = has_value(trie_[at]);
    at ^= children_of(trie_[at]);
    if (!ends_here || at >= trie_.size()) continue;
    const size_t offset = trie_[at] & ~kValueBit;
    if (offset >= replacements_.size()) continue;
    // Ends at its own zero byte.
    match = {i + 1, std::string_view(replacements_.data() + offset)};
  }
  return match;
}

}  // namespace ration
