#include "model/tokenizer/trie.h"

#include <algorithm>

namespace ration {

TokenTrie::TokenTrie(const Vocabulary& vocabulary, std::vector<Token> tokens)
    : vocabulary_(vocabulary) {
  std::sort(tokens.begin(), tokens.end(),
            [&](Token a, Token b) { return vocabulary.text(a) < vocabulary.text(b); });
  struct Work {
    uint32_t node;
    uint32_t begin;  // of the tokens below it
    uint32_t end;
    uint32_t depth;
  };
  nodes_.push_back({});
  std::vector<Work> open{{0, 0, static_cast<uint32_t>(tokens.size()), 0}};
  while (!open.empty()) {
    const Work work = open.back();
    open.pop_back();
    uint32_t begin = work.begin;
    if (work.end - begin == 1 && work.depth > 0) {
      nodes_[work.node].child_count = kTail;
      nodes_[work.node].token = tokens[begin];
      continue;
    }
    if (begin < work.end && vocabulary.text(tokens[begin]).size() == work.depth) {
      nodes_[work.node].token = tokens[begin++];
    }
    nodes_[work.node].children = static_cast<uint32_t>(nodes_.size());
    while (begin < work.end) {
      const char label = vocabulary.text(tokens[begin])[work.depth];
      uint32_t end = begin;
      while (end < work.end && vocabulary.text(tokens[end])[work.depth] == label) ++end;
      open.push_back({static_cast<uint32_t>(nodes_.size()), begin, end, work.depth + 1});
      nodes_.push_back({.label = static_cast<uint8_t>(label)});
      ++nodes_[work.node].child_count;
      begin = end;
    }
  }
  nodes_.shrink_to_fit();
}

}  // namespace ration
