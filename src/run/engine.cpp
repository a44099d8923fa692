#include "run/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "run/forward.h"
#include "run/kv.h"
#include "run/workspace.h"

namespace ration {
Sequence::~Sequence() { truncate(0); }

void Sequence::truncate(int64_t length) {
  CHECK(length >= 0 && length <= length_);
  CHECK(length == 0 || length >= length_min(),
        fmt::format("found a length of {}, wanted at least {}", length, length_min()));
  length_ = length;
  while (roles_.size() > 1 && roles_[roles_.size() - 2].end >= length) roles_.pop_back();
  if (length == 0) roles_.clear();
  if (!roles_.empty()) roles_.back().end = std::min(roles_.back().end, length);
  for (Table& table : tables_) {
    while (static_cast<int64_t>(table.blocks.size()) > kv_blocks_for(length)) {
      if (table.blocks.back()) give_back(table, table.blocks.back());
      table.blocks.pop_back();
    }
    table.forgotten = std::min(table.forgotten, static_cast<int64_t>(table.blocks.size()));
  }
}

int64_t Sequence::length_min() const {
  int64_t least = 0;
  for (const Table& table : tables_) {
    if (table.forgotten == 0) continue;
    least = std::max(least, table.forgotten * kKvBlockTokens + table.window - 1);
  }
  return least;
}

// Gives back what no token after this length, or after up to kKvWindowSlack tokens less, will see.
void Sequence::forget() {
  for (Table& table : tables_) {
    if (table.window == 0) continue;
    const int64_t seen_from = length_ - kKvWindowSlack + 1 - table.window;
    for (; (table.forgotten + 1) * kKvBlockTokens <= seen_from; ++table.forgotten) {
      std::byte*& block = table.blocks[static_cast<size_t>(table.forgotten)];
      give_back(table, block);
      block = nullptr;
    }
  }
}

void Sequence::give_back(Table& table, std::byte* block) {
  if (kept_) table.pool->set_kept(block, false);
  table.pool->give_back(block);
}

bool Sequence::end_is_spare() const {
  return tables_.front().pool->is_spare(tables_.front().blocks.back());
}

void Sequence::set_kept() {
  if (std::exchange(kept_, true)) return;
  for (const Table& table : tables_) {
    for (std::byte* block : table.blocks) {
      if (block) table.pool->set_kept(block, true);
    }
  }
}

Bytes Engine::workspace_bytes(const Network& network, const Kernels& kernels, int threads,
                              const EngineOptions& options) {
  return Workspace::bytes(network, kernels, threads, options);
}

Bytes Engine::kv_block_bytes(const Network& network, KvType type) {
  Bytes total{0};
  for (const KvGroup& group : kv_layout(network, type).groups) {
    total = total + Bytes{group.shape.block_bytes()};
  }
  return total;
}

Engine::Engine(std::shared_ptr<const Model> model, const Kernels& kernels, Pool& pool,
               const EngineOptions& options)
    : model_(std::move(model)), kernels_(kernels), pool_(pool), options_(options) {}

Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::make(std::shared_ptr<const Model> model,
                                             const Kernels& kernels, Pool& pool, Budget& budget,
                                             const EngineOptions& options) {
  const Network& network = model->network();
  if (options.context < 1 || options.context > network.context_trained) {
    return Error{Code::kInvalid,
                 fmt::format("found a context of {}, wanted 1 to {} for {}", options.context,
                             network.context_trained, model->name())};
  }
  CHECK(options.kv_tokens >= 1 && options.step_tokens_max >= 1 && options.logit_rows_max >= 1);
  std::unique_ptr<Engine> engine(new Engine(std::move(model), kernels, pool, options));
  Result<std::unique_ptr<Workspace>> workspace =
      Workspace::make(network, kernels, pool.threads(), options, budget);
  if (!workspace) return workspace.error();
  engine->workspace_ = std::move(*workspace);
  engine->layout_ = std::make_unique<KvLayout>(kv_layout(network, options.kv_type));
  for (const KvGroup& group : engine->layout_->groups) {
    Result<std::unique_ptr<KvPool>> kv =
        KvPool::make(group.shape, kv_blocks_for(options.kv_tokens), budget);
    if (!kv) return kv.error();
    engine->pools_.push_back(std::move(*kv));
  }
  return engine;
}

std::unique_ptr<Sequence> Engine::open() {
  std::unique_ptr<Sequence> sequence(new Sequence);
  for (size_t g = 0; g < pools_.size(); ++g) {
    sequence->tables_.push_back({.pool = pools_[g].get(), .window = layout_->groups[g].window});
  }
  return sequence;
}

Result<std::unique_ptr<Sequence>> Engine::fork(const Sequence& from, int64_t length) {
  if (length < 0 || length > from.length_ || (length > 0 && length < from.length_min())) {
    return Error{Code::kInvalid, fmt::format("found a beginning of {} tokens, wanted {} to {}",
                                             length, from.length_min(), from.length_)};
  }
  std::unique_ptr<Sequence> sequence = open();
  if (length == 0) return sequence;
  sequence->length_ = length;
  for (const RoleRun& run : from.roles_) {
    const bool last = run.end >= length;
    sequence->roles_.push_back({.end = last ? length : run.end, .role = run.role});
    if (last) break;
  }
  for (size_t g = 0; g < pools_.size(); ++g) {
    Sequence::Table& table = sequence->tables_[g];
    table.blocks = from.tables_[g].blocks;
    table.blocks.resize(static_cast<size_t>(kv_blocks_for(length)));
    table.forgotten = from.tables_[g].forgotten;
    for (std::byte* block : table.blocks) {
      if (block) table.pool->share(block);
    }
  }
  sequence->forget();
  return sequence;
}

std::vector<std::span<const std::byte>> Engine::blocks(const Sequence& sequence) const {
  std::vector<std::span<const std::byte>> out;
  for (const Sequence::Table& table : sequence.tables_) {
    const auto bytes = static_cast<size_t>(table.pool->shape().block_bytes());
    for (const std::byte* block : table.blocks) {
      if (block) out.emplace_back(block, bytes);
    }
  }
  return out;
}

std::vector<int64_t> Engine::forgotten(const Sequence& sequence) {
  std::vector<int64_t> out;
  for (const Sequence::Table& table : sequence.tables_) out.push_back(table.forgotten);
  return out;
}

Result<std::unique_ptr<Sequence>> Engine::restore(
    std::span<const RoleRun> roles, std::span<const int64_t> forgotten,
    const std::function<Status(std::span<std::byte>)>& fill) {
  const int64_t length = roles.empty() ? 0 : roles.back().end;
  const int64_t blocks = kv_blocks_for(length);
  bool right = length > 0 && length <= options_.context && forgotten.size() == pools_.size();
  for (size_t i = 0; right && i < roles.size(); ++i) {
    right = i == 0 ? roles[i].end > 0
                   : roles[i].end > roles[i - 1].end && roles[i].role != roles[i - 1].role;
  }
  std::unique_ptr<Sequence> sequence = open();
  for (size_t g = 0; right && g < pools_.size(); ++g) {
    const int64_t window = sequence->tables_[g].window;
    const int64_t most = window == 0 ? 0 : (length + 1 - window) / kKvBlockTokens;
    right = forgotten[g] >= 0 && forgotten[g] <= std::max<int64_t>(most, 0);
  }
  if (!right) return Error{Code::kInvalid, "this is no conversation of this model"};
  for (size_t g = 0; g < pools_.size(); ++g) {
    Sequence::Table& table = sequence->tables_[g];
    table.blocks.assign(static_cast<size_t>(forgotten[g]), nullptr);
    table.forgotten = forgotten[g];
    while (std::ssize(table.blocks) < blocks) {
      Result<std::byte*> block = table.pool->take();
      if (!block) break;
      table.blocks.push_back(*block);
      const auto bytes = static_cast<size_t>(table.pool->shape().block_bytes());
      if (Status filled = fill({*block, bytes}); !filled) return filled.error();
    }
    if (std::ssize(table.blocks) < blocks) {
      return Error{Code::kOverBudget, "there is no room for a conversation that was written down"};
    }
  }
  sequence->length_ = length;
  sequence->roles_.assign(roles.begin(), roles.end());
  return sequence;
}

// Takes the blocks all items need, or none. Those at the end of a sequence that others share are
// replaced by copies: they are about to be written.
Status Engine::grow(std::span<const StepItem> items) {
  struct Need {
    Sequence::Table* table;
    bool copies;  // the last block
    int64_t blocks;
    std::vector<std::byte*> taken;
  };
  std::vector<Need> needs;
  for (const StepItem& item : items) {
    const int64_t before = item.sequence->length_;
    const int64_t after = before + static_cast<int64_t>(item.tokens.size());
    for (Sequence::Table& table : item.sequence->tables_) {
      const bool copies =
          before % kKvBlockTokens != 0 && table.pool->is_shared(table.blocks.back());
      const int64_t more = kv_blocks_for(after) - kv_blocks_for(before);
      needs.push_back({&table, copies, more + (copies ? 1 : 0), {}});
    }
  }
  for (Need& need : needs) {
    while (static_cast<int64_t>(need.taken.size()) < need.blocks) {
      const Result<std::byte*> block = need.table->pool->take();
      if (block) {
        need.taken.push_back(*block);
        continue;
      }
      for (Need& other : needs) {
        for (std::byte* taken : other.taken) other.table->pool->give_back(taken);
      }
      return block.error();
    }
  }
  for (Need& need : needs) {
    std::vector<std::byte*>& blocks = need.table->blocks;
    if (need.copies) {
      std::byte* copy = need.taken.back();
      need.taken.pop_back();
      std::memcpy(copy, blocks.back(),
                  static_cast<size_t>(need.table->pool->shape().block_bytes()));
      need.table->pool->give_back(blocks.back());
      blocks.back() = copy;
    }
    blocks.insert(blocks.end(), need.taken.begin(), need.taken.end());
  }
  return {};
}

// The tokens of all items, prompts first; their logits in the order of the items.
std::vector<BatchToken> Engine::batch_of(std::span<const StepItem> items) {
  std::array<std::vector<BatchToken>, 2> by_role;
  int64_t logit_row = 0;
  for (const StepItem& item : items) {
    const Sequence& sequence = *item.sequence;
    std::array<std::byte* const*, kKvGroups> tables{};
    for (size_t g = 0; g < sequence.tables_.size(); ++g) {
      tables[g] = sequence.tables_[g].blocks.data();
    }
    for (size_t i = 0; i < item.tokens.size(); ++i) {
      const bool is_last = i + 1 == item.tokens.size();
      const bool wanted = item.wants_all_logits || (item.wants_logits && is_last);
      by_role[static_cast<size_t>(item.role)].push_back(
          {.token = item.tokens[i],
           .role = item.role,
           .position = sequence.length_ + static_cast<int64_t>(i),
           .tables = tables,
           .logit_row = wanted ? logit_row++ : -1,
           .best_logits = item.best_logits,
           .wants_hidden = item.wants_hidden});
    }
  }
  auto& [batch, generated] = by_role;
  batch.insert(batch.end(), generated.begin(), generated.end());
  return std::move(batch);
}

// Where batch_of() puts each item's tokens.
std::vector<Share> Engine::rows_of(std::span<const StepItem> items) {
  std::vector<Share> rows(items.size());
  int64_t next = 0;
  for (const Role role : {Role::kPrompt, Role::kGenerated}) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].role != role) continue;
      const auto count = static_cast<int64_t>(items[i].tokens.size());
      rows[i] = {next, next + count};
      next += count;
    }
  }
  return rows;
}

Status Engine::step(std::span<const StepItem> items) {
  const Network& network = model_->network();
  int64_t total = 0;
  int64_t logit_rows = 0;
  for (const StepItem& item : items) {
    const auto count = static_cast<int64_t>(item.tokens.size());
    CHECK(count > 0 && item.sequence->length_ + count <= options_.context,
          fmt::format("{} tokens after {} in a context of {}", count, item.sequence->length_,
                      options_.context));
    for (Token token : item.tokens) {
      if (token < 0 || token >= network.vocabulary) {
        return Error{Code::kInvalid,
                     fmt::format("found token {}, wanted 0 to {}", token, network.vocabulary - 1)};
      }
    }
    CHECK(!network.sees_later || item.sequence->length_ == 0, "an encoder reads a text at once");
    total += count;
    logit_rows += item.wants_all_logits ? count : item.wants_logits ? 1 : 0;
  }
  CHECK(total > 0 && total <= options_.step_tokens_max && logit_rows <= options_.logit_rows_max);
  CHECK(logit_rows == 0 || !network.output.weight.empty(), "an encoder has no logits");
  if (Status grown = grow(items); !grown) return grown;

  const std::vector<BatchToken> batch = batch_of(items);
  const bool long_context = std::ranges::any_of(network.ropes, [&](const Rope& rope) {
    return !rope.long_frequencies.empty() && options_.context > rope.long_beyond;
  });
  const Bytes output = forward({.network = network,
                                .kernels = kernels_,
                                .pool = pool_,
                                .workspace = *workspace_,
                                .kv = *layout_,
                                .long_context = long_context},
                               batch);
  item_rows_ = rows_of(items);
  last_weight_bytes_ = step_weight_bytes() - Bytes{network.output.weight.bytes()} + output;
  for (const StepItem& item : items) {
    Sequence& sequence = *item.sequence;
    const auto count = static_cast<int64_t>(item.tokens.size());
    sequence.length_ += count;
    if (sequence.roles_.empty() || sequence.roles_.back().role != item.role) {
      sequence.roles_.push_back({.role = item.role});
    }
    sequence.roles_.back().end = sequence.length_;
    sequence.forget();
    (item.role == Role::kPrompt ? work_.prompt_tokens : work_.generated_tokens) += count;
  }
  ++work_.steps;
  return {};
}

std::span<float> Engine::logits(int64_t row) {
  CHECK(row >= 0 && row < options_.logit_rows_max);
  const int64_t vocabulary = model_->network().vocabulary;
  return {workspace_->logits + row * vocabulary, static_cast<size_t>(vocabulary)};
}

std::span<const float> Engine::hidden(size_t item) const {
  CHECK(item < item_rows_.size());
  const auto [begin, end] = item_rows_[item];
  const int64_t width = model_->network().width;
  return {workspace_->residual + begin * width, static_cast<size_t>((end - begin) * width)};
}

int64_t Engine::kv_blocks_free() const { return pools_.front()->blocks_free(); }
int64_t Engine::kv_blocks_max() const { return pools_.front()->blocks_max(); }
int64_t Engine::kv_blocks_spare() const { return pools_.front()->blocks_spare(); }

Bytes Engine::kv_bytes_spare() const {
  Bytes total{0};
  for (const auto& pool : pools_) total += Bytes{pool->block_bytes()} * pool->blocks_spare();
  return total;
}

Bytes Engine::kv_bytes_used() const {
  Bytes total{0};
  for (const auto& pool : pools_) {
    total += Bytes{pool->block_bytes()} * (pool->blocks_max() - pool->blocks_free());
  }
  return total;
}

Bytes Engine::step_weight_bytes() const {
  // All tensors but an embedding that is only looked up, a row a token, and the experts that one
  // token is not sent to.
  const Network& network = model_->network();
  const bool tied = network.output.weight.data == network.embedding.data;
  int64_t unread = tied ? 0 : network.embedding.bytes();
  for (const Stage& stage : network.stages) {
    if (const auto* experts = std::get_if<ExpertStage>(&stage)) {
      const int64_t all = experts->gate.bytes() + experts->up.bytes() + experts->down.bytes();
      unread += all / experts->experts * (experts->experts - experts->used);
    }
  }
  return model_->file().tensor_bytes() - Bytes{unread};
}

}  // namespace ration
