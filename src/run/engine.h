// run/engine.h - one model at work: a step takes a batch of (sequence, tokens) through the network.
//
// Prefill and decode are the same call. What is computed for a token depends on its role and on the
// tokens before it in its own sequence, and on nothing else: not on the batch, the chunking, who
// else is in the step, or which thread ran it. Within a role, results are bit-identical.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/budget.h"
#include "base/pool.h"
#include "base/result.h"
#include "model/model.h"
#include "tensor/kernels.h"

namespace ration {

struct KvLayout;
class KvPool;
class Workspace;
struct BatchToken;

struct EngineOptions {
  int64_t context = 0;            // most tokens of one sequence; at most the model's own
  int64_t kv_tokens = 0;          // tokens that all sequences together may hold
  int64_t step_tokens_max = 128;  // most tokens of one step
  int64_t logit_rows_max = 1;     // most positions of one step whose logits are wanted
  KvType kv_type = KvType::kF16;
};

// So many tokens from the one before on have this role.
struct RoleRun {
  int64_t end = 0;  // one past the last position
  Role role = Role::kPrompt;

  bool operator==(const RoleRun&) const = default;
};

// The cached state of one conversation. Owned by whoever opened it; gives its blocks back when
// destroyed. Layers with a sliding window hold their window, and 32 tokens more.
// REQUIRES: does not outlive its engine. single-thread.
class Sequence {
 public:
  ~Sequence();
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  int64_t length() const { return length_; }  // tokens whose keys and values are cached
  // In order, each another role than the one before; the last ends at length().
  std::span<const RoleRun> roles() const { return roles_; }
  // The first so many tokens all have the prompt role: what a prompt that must be reproducible may
  // reuse.
  int64_t prompt_length() const {
    return roles_.empty() || roles_[0].role != Role::kPrompt ? 0 : roles_[0].end;
  }
  // Says that nobody writes this conversation: its blocks are only kept, for a later one to share.
  // Those that no other owns count as spare (Engine::kv_blocks_spare()).
  void set_kept();
  // The newest block is owned by kept sequences only. REQUIRES: length() > 0.
  bool end_is_spare() const;
  // Drops everything after the first `length` tokens, and blocks that are then empty.
  // REQUIRES: `length` is 0 or at least length_min().
  void truncate(int64_t length);
  // The shortest beginning that is still complete, as windowed layers forget: at most length() less
  // 32 tokens (or nothing), 0 where no layer has a window.
  int64_t length_min() const;

 private:
  friend class Engine;
  // The blocks of one group of layers.
  struct Table {
    KvPool* pool;
    int64_t window;                  // 0: everything is kept
    std::vector<std::byte*> blocks;  // blocks[p / 32] holds position p
    int64_t forgotten = 0;           // so many blocks at the beginning were given back
  };

  Sequence() = default;
  void forget();
  void give_back(Table& table, std::byte* block);

  std::vector<Table> tables_;
  int64_t length_ = 0;
  std::vector<RoleRun> roles_;
  bool kept_ = false;
};

struct StepItem {
  Sequence* sequence = nullptr;
  std::span<const Token> tokens;  // appended to the sequence; not empty
  Role role = Role::kPrompt;
  bool wants_logits = false;      // of the last token
  bool wants_all_logits = false;  // of every token
  bool wants_hidden = false;      // the last state of every token
  // Of the logits of a row only so many of the best are looked at; 0: all. The others may be
  // -infinity then, where that spares reading the vocabulary's weights whole.
  int32_t best_logits = 0;
};

// What an engine has done since it was made.
struct EngineWork {
  int64_t steps = 0;
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;  // that went through the network again, guessed ones too
};

// single-thread: one thread calls; the pool's threads help inside step().
class Engine {
 public:
  // Takes the workspace from `budget` under Tag::kActivations. The weights are charged by the
  // caller, who maps them. kOverBudget carries the shortfall.
  static Result<std::unique_ptr<Engine>> make(std::shared_ptr<const Model> model,
                                              const Kernels& kernels, Pool& pool, Budget& budget,
                                              const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  std::unique_ptr<Sequence> open();
  // A sequence that begins with the first `length` tokens of another. Blocks are shared, and copied
  // by who writes into one: it costs no memory until then, and shared bytes are charged once.
  // kInvalid when windowed layers have forgotten that beginning: see Sequence::length_min().
  Result<std::unique_ptr<Sequence>> fork(const Sequence& from, int64_t length);

  // The keys and values of a sequence to be written down: block by block, group by group, without
  // forgotten ones.
  std::vector<std::span<const std::byte>> blocks(const Sequence& sequence) const;
  // What layers with a window have forgotten of it, in blocks, by group.
  static std::vector<int64_t> forgotten(const Sequence& sequence);
  // A sequence as it was when it was written down, whose blocks `fill` is handed in that order.
  // kInvalid when no sequence of this engine looks so; kOverBudget; the error of `fill`.
  Result<std::unique_ptr<Sequence>> restore(
      std::span<const RoleRun> roles, std::span<const int64_t> forgotten,
      const std::function<Status(std::span<std::byte>)>& fill);

  // Runs all items as one batch. On an error no sequence has changed:
  // kOverBudget when the cache is full, kInvalid for a token outside the vocabulary.
  // REQUIRES: the tokens fit step_tokens_max and each sequence's context; a sequence appears once.
  // Of an encoder (Network::sees_later) an item is a whole text in an empty sequence, and no logits
  // are wanted.
  Status step(std::span<const StepItem> items);

  // Logits of the last step: one row for each wanted position, in the order of the items.
  // [vocabulary] F32, valid until the next step; the caller may change them.
  std::span<float> logits(int64_t row);

  // The states after the last stage and the final norm of the item's tokens, where they were wanted
  // of the last step. [tokens, width] F32, valid until the next step.
  std::span<const float> hidden(size_t item) const;

  const Model& model() const { return *model_; }
  const Kernels& kernels() const { return kernels_; }
  const EngineOptions& options() const { return options_; }
  const EngineWork& work() const { return work_; }
  int64_t kv_blocks_free() const;
  int64_t kv_blocks_max() const;
  // Blocks, and bytes of all groups of layers, that only kept sequences own.
  int64_t kv_blocks_spare() const;
  Bytes kv_bytes_spare() const;
  // Bytes of all blocks that are taken.
  Bytes kv_bytes_used() const;
  Bytes kv_block_bytes() const { return kv_block_bytes(model_->network(), options_.kv_type); }
  // Weight bytes that a step reads at least once, whatever its batch, where whole logits are
  // wanted; and what the last step read, of the output matrix only what it looked at.
  Bytes step_weight_bytes() const;
  Bytes last_weight_bytes() const { return last_weight_bytes_; }

  // What Engine::make would take for its workspace, and what a block of 32 tokens takes.
  static Bytes workspace_bytes(const Network& network, const Kernels& kernels, int threads,
                               const EngineOptions& options);
  // The second for all layers; layers with a window hold no more than it and a step.
  static Bytes kv_block_bytes(const Network& network, KvType type = KvType::kF16);

 private:
  Engine(std::shared_ptr<const Model> model, const Kernels& kernels, Pool& pool,
         const EngineOptions& options);
  Status grow(std::span<const StepItem> items);
  static std::vector<BatchToken> batch_of(std::span<const StepItem> items);
  static std::vector<Share> rows_of(std::span<const StepItem> items);

  std::shared_ptr<const Model> model_;
  const Kernels& kernels_;
  Pool& pool_;
  const EngineOptions options_;
  std::unique_ptr<KvLayout> layout_;
  std::vector<std::unique_ptr<KvPool>> pools_;  // by group of the layout
  std::unique_ptr<Workspace> workspace_;
  std::vector<Share> item_rows_;  // of the last step's batch
  Bytes last_weight_bytes_;
  EngineWork work_;
};

}  // namespace ration
