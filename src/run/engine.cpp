#include "run/engine.h"

#include <fmt/core.h>

#include <algorithm>

#include "run/forward.h"
#include "run/kv.h"
#include "run/workspace.h"

namespace ration {
namespace {

KvShape kv_shape(const Network& network, KvType type) {
  return {network.layers, network.kv_heads, network.head_size, type};
}

}  // namespace

Sequence::~Sequence() { truncate(0); }

void Sequence::truncate(int64_t length) {
  CHECK(length >= 0 && length <= length_);
  length_ = length;
  while (static_cast<int64_t>(blocks_.size()) > kv_blocks_for(length)) {
    pool_.give_back(blocks_.back());
    blocks_.pop_back();
  }
}

Bytes Engine::workspace_bytes(const Network& network, const Kernels& kernels, int threads,
                              const EngineOptions& options) {
  return Workspace::bytes(network, kernels, threads, options);
}

Bytes Engine::kv_block_bytes(const Network& network, KvType type) {
  return Bytes{kv_shape(network, type).block_bytes()};
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
  Result<std::unique_ptr<KvPool>> kv =
      KvPool::make(kv_shape(network, options.kv_type), kv_blocks_for(options.kv_tokens), budget);
  if (!kv) return kv.error();
  engine->kv_ = std::move(*kv);
  return engine;
}

std::unique_ptr<Sequence> Engine::open() { return std::unique_ptr<Sequence>(new Sequence(*kv_)); }

// Takes the blocks all items need, or none.
Status Engine::grow(std::span<const StepItem> items) {
  std::vector<size_t> blocks_before;
  for (const StepItem& item : items) blocks_before.push_back(item.sequence->blocks_.size());
  for (const StepItem& item : items) {
    Sequence& sequence = *item.sequence;
    const int64_t length = sequence.length_ + static_cast<int64_t>(item.tokens.size());
    while (static_cast<int64_t>(sequence.blocks_.size()) < kv_blocks_for(length)) {
      Result<std::byte*> block = kv_->take();
      if (block) {
        sequence.blocks_.push_back(*block);
        continue;
      }
      for (size_t i = 0; i < items.size(); ++i) {
        std::vector<std::byte*>& blocks = items[i].sequence->blocks_;
        while (blocks.size() > blocks_before[i]) {
          kv_->give_back(blocks.back());
          blocks.pop_back();
        }
      }
      return block.error();
    }
  }
  return {};
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
    total += count;
    logit_rows += item.wants_all_logits ? count : item.wants_logits ? 1 : 0;
  }
  CHECK(total > 0 && total <= options_.step_tokens_max && logit_rows <= options_.logit_rows_max);
  if (Status grown = grow(items); !grown) return grown;

  std::vector<BatchToken> batch;
  batch.reserve(static_cast<size_t>(total));
  for (const StepItem& item : items) {
    Sequence& sequence = *item.sequence;
    for (size_t i = 0; i < item.tokens.size(); ++i) {
      const int64_t position = sequence.length_ + static_cast<int64_t>(i);
      const bool is_last = i + 1 == item.tokens.size();
      batch.push_back({.token = item.tokens[i],
                       .position = position,
                       .blocks = sequence.blocks_.data(),
                       .block = sequence.blocks_[static_cast<size_t>(position / kKvBlockTokens)],
                       .wants_logits = item.wants_all_logits || (item.wants_logits && is_last),
                       .best_logits = item.best_logits});
    }
  }
  const bool long_context = std::ranges::any_of(network.ropes, [&](const Rope& rope) {
    return !rope.long_frequencies.empty() && options_.context > rope.long_beyond;
  });
  const Bytes output = forward({.network = network,
                                .kernels = kernels_,
                                .pool = pool_,
                                .workspace = *workspace_,
                                .kv = kv_->shape(),
                                .long_context = long_context},
                               batch);
  last_weight_bytes_ = step_weight_bytes() - Bytes{network.output.weight.bytes()} + output;
  for (const StepItem& item : items) {
    item.sequence->length_ += static_cast<int64_t>(item.tokens.size());
  }
  return {};
}

std::span<float> Engine::logits(int64_t row) {
  CHECK(row >= 0 && row < options_.logit_rows_max);
  const int64_t vocabulary = model_->network().vocabulary;
  return {workspace_->logits + row * vocabulary, static_cast<size_t>(vocabulary)};
}

int64_t Engine::kv_blocks_free() const { return kv_->blocks_free(); }
int64_t Engine::kv_blocks_max() const { return kv_->blocks_max(); }

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
