// base/budget.h - the heart: bytes that may be spent, as a tree of grants.
//
// A Budget is a node with a hard mark (never passed) and a soft mark (a hint to make room). Bytes
// are taken with reserve() under a tag and counted on the node and on every node above it, so a
// limit holds at every level at once. grant() hands a piece down: a child with its own, smaller
// limit.
//
//   Budget machine("machine", {.hard = Bytes{300'000'000}});
//   Result<std::unique_ptr<Budget>> kv = machine.grant("kv", {.hard = Bytes{64 * kMiB}});
//   Result<Charge> block = (*kv)->reserve(Tag::kKv, Bytes{4096});
//   if (!block) return block.error();          // Code::kOverBudget, with the shortfall
//
// Life of a Charge: reserve the most that may be needed, settle() what was really used, release by
// destroying it. Over budget is a normal answer, never an abort.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unit.h"

namespace ration {

// What bytes are for.
enum class Tag : uint8_t {
  kWeights,      // model parameters, mapped or owned
  kKv,           // keys and values of conversations
  kPrefix,       // keys and values kept for prompts that may come again
  kActivations,  // buffers of one forward pass
  kScratch,      // program text, tokeniser tables, anything that is none of the others
  kAdapter,      // low-rank adapters
  kOptimizer,    // optimiser state
  kGradient,     // gradients
  kIo,           // requests, responses, downloads
};
inline constexpr int kTagCount = 9;
std::string_view tag_name(Tag tag);

struct Marks {
  Bytes hard;      // reserve() refuses beyond this
  Bytes soft{-1};  // above_soft() is true beyond this; negative: no soft mark
};

class Budget;

// Bytes taken from a Budget; gives them back when destroyed. Move-only. single-thread by itself,
// the budget behind it is thread-safe. REQUIRES: does not outlive its budget.
class [[nodiscard]] Charge {
 public:
  Charge() = default;
  Charge(Charge&& other) noexcept { *this = std::move(other); }
  Charge& operator=(Charge&& other) noexcept;
  ~Charge() { release(); }

  Bytes bytes() const { return bytes_; }
  // Gives back all but `actual`. REQUIRES: 0 <= actual <= bytes().
  void settle(Bytes actual);
  // Takes more under the same tag; on refusal nothing changes.
  Status grow(Bytes extra);
  // The same bytes are for something else from now on.
  void retag(Tag tag);
  void release();

 private:
  friend class Budget;
  Charge(Budget* budget, Tag tag, Bytes bytes) : budget_(budget), tag_(tag), bytes_(bytes) {}

  Budget* budget_ = nullptr;
  Tag tag_ = Tag::kScratch;
  Bytes bytes_{0};
};

// What a node holds, all tags at one instant.
struct BudgetReport {
  std::array<Bytes, kTagCount> used{};
  std::array<Bytes, kTagCount> peak{};  // each tag's own peak
  Bytes used_total{};
  Bytes peak_total{};  // the largest sum at any instant: at most the sum of the tags' peaks
};

// thread-safe. A tree shares one lock: taking bytes is rare (a block of 32 tokens, a model).
class Budget {
 public:
  // A root.
  Budget(std::string name, Marks marks);
  // Checks that nothing is charged and that no child is left.
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // A child whose charges count here too. Its hard mark may exceed what is free here: then this
  // node's mark binds first. REQUIRES: the child is destroyed before its parent.
  std::unique_ptr<Budget> grant(std::string name, Marks marks);

  // Takes bytes on this node and all above it, or nothing at all.
  // kOverBudget names the node that refused and carries the shortfall. REQUIRES: bytes >= 0.
  Result<Charge> reserve(Tag tag, Bytes bytes);

  // Bytes that a reserve() of any tag could take now: the least room on the way to the root.
  Bytes available() const;
  BudgetReport report() const;
  bool above_soft() const;
  // Starts the peaks anew from what is used now (one answer's bill begins).
  void reset_peaks();

  const std::string& name() const { return name_; }
  Bytes hard() const { return marks_.hard; }

  // For tests: every reserve() on this node or below asks `refuse` first, under the lock; when it
  // returns true the reserve is refused as if the node were full.
  void inject_failures(std::function<bool(Tag, Bytes)> refuse);

 private:
  friend class Charge;
  Budget(std::string name, Marks marks, Budget* parent);
  Status take(Tag tag, Bytes bytes);
  void give_back(Tag tag, Bytes bytes);
  void move(Tag from, Tag to, Bytes bytes);
  Bytes available_locked() const;

  const std::string name_;
  const Marks marks_;
  Budget* const parent_;
  const std::shared_ptr<std::mutex> lock_;  // one for the whole tree
  BudgetReport report_;
  int children_ = 0;
  std::function<bool(Tag, Bytes)> refuse_;
};

}  // namespace ration
