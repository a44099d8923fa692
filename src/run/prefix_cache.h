// run/prefix_cache.h - beginnings that were computed before: prompts that begin like an earlier
// text, or like one that is being written, take its keys and values over.
//
// Source    Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with
//           PagedAttention", sec. 4.4 (shared prefixes, copied on write); the order of eviction as
//           in Zheng et al. 2024, "SGLang: Efficient Execution of Structured Language Model
//           Programs", sec. 3 (least recently used, ends before beginnings).
// Computes  of the texts of the same owner: the longest common beginning of tokens that has the
//           wanted roles; of equally long ones the one with the longer prompt, then the newest
// Departs   texts are compared token by token, not looked up by the hashes of their blocks: there
//           are hundreds, not millions, a part of a block is a hit too, and nothing can collide
// Costs     comparing a text is a few nanoseconds until the first other token; of memory nothing
//           but 4 bytes a token, as blocks are shared, and kept ones are the first to go
// Proved    test/run/prefix_cache_test.cpp
// Private to run/.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/budget.h"
#include "run/engine.h"
#include "run/known_text.h"

namespace ration {

class PrefixStore;

// A text whose keys and values are at hand. Borrowed.
struct PrefixSource {
  std::span<const Token> tokens;  // at least sequence.length()
  const Sequence* sequence = nullptr;
  std::string_view owner{};

  KnownText known() const {
    return {tokens.first(static_cast<size_t>(sequence->length())), sequence->roles(),
            sequence->length_min(), owner};
  }
};

// single-thread: the engine's.
class PrefixCache {
 public:
  // Borrows all. Blocks that are only kept never take more than bytes_max; 0: nothing is kept.
  // store: where texts are also written down; null: nowhere.
  PrefixCache(Engine& engine, Budget& budget, Bytes bytes_max, PrefixStore* store = nullptr);
  ~PrefixCache();

  // A sequence with the longest beginning that the query may reuse, from what is kept or from the
  // texts that are being written. Null: there is none.
  std::unique_ptr<Sequence> find(const PrefixQuery& query, std::span<const PrefixSource> running);

  // How long that beginning would be.
  int64_t longest(const PrefixQuery& query, std::span<const PrefixSource> running) const;

  // Keeps a text for later. tokens: at least sequence->length(), of which as many are meant.
  void keep(std::unique_ptr<Sequence> sequence, std::span<const Token> tokens,
            std::string_view owner);

  // Gives blocks back, of what was not used for longest. False when there is nothing to give.
  bool shrink();

  int64_t texts() const { return static_cast<int64_t>(kept_.size()); }

 private:
  struct Text {
    std::unique_ptr<Sequence> sequence;
    std::vector<Token> tokens;
    std::string owner;
    Charge charge;  // of the tokens

    PrefixSource source() const { return {tokens, sequence.get(), owner}; }
  };

  std::unique_ptr<Sequence> read_from_store(const PrefixQuery& query,
                                            std::span<const PrefixSource> running);

  Engine& engine_;
  Budget& budget_;
  const Bytes bytes_max_;
  PrefixStore* const store_;
  std::vector<Text> kept_;  // the least recently used first
};

}  // namespace ration
