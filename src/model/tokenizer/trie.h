// model/tokenizer/trie.h - tokens by their bytes, for the families that ask which tokens begin
// here.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/tokenizer/vocabulary.h"

namespace ration {

// A byte trie whose single-token tails are not spelt out: a node with one token left below it
// points at the token. 12 bytes a node. shared-const. Borrows the vocabulary.
class TokenTrie {
 public:
  TokenTrie(const Vocabulary& vocabulary, std::vector<Token> tokens);

  // Calls visit(length, token) for every token that `text` begins with, shortest first.
  template <class Visit>
  void walk(std::string_view text, const Visit& visit) const {
    uint32_t at = 0;
    for (size_t depth = 0;; ++depth) {
      const Node& node = nodes_[at];
      if (node.child_count == kTail) {
        const std::string_view spelt = vocabulary_.text(node.token);
        if (text.substr(depth).starts_with(spelt.substr(depth))) visit(spelt.size(), node.token);
        return;
      }
      if (node.token != kNoToken) visit(depth, node.token);
      if (depth == text.size()) return;
      at = child(node, static_cast<unsigned char>(text[depth]));
      if (at == kNoId) return;
    }
  }

  size_t bytes() const { return nodes_.capacity() * sizeof(Node); }

 private:
  static constexpr uint16_t kTail = 0xffff;
  struct Node {
    uint32_t children = 0;   // the first; they stand together, by rising label
    Token token = kNoToken;  // that ends here, or of a tail the only one below
    uint16_t child_count = 0;
    uint8_t label = 0;
  };

  // The child of `node` by `label`, or kNoId.
  uint32_t child(const Node& node, uint8_t label) const {
    const uint32_t end = node.children + node.child_count;
    uint32_t low = node.children;
    uint32_t high = end;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (nodes_[middle].label < label)
        low = middle + 1;
      else
        high = middle;
    }
    return low < end && nodes_[low].label == label ? low : kNoId;
  }

  const Vocabulary& vocabulary_;
  std::vector<Node> nodes_;
};

}  // namespace ration
