// run/kv.h - the paged cache of keys and values: blocks of 32 tokens, taken from a budget one by
// one.
//
// Source    Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with
//           PagedAttention", sec. 4.1 (blocks and block tables).
// Groups    layers that see everything and layers that see a window keep their blocks apart, so
//           that the second kind can give back what no later token sees.
// Sharing   blocks are counted by their owners: sequences that begin alike hold the same ones, and
//           who writes into a shared block copies it first.
// Layout    one block = [layer][kv head][keys, values]: a head's keys as [head_size][32 tokens],
//           so that scores of 32 tokens come out side by side, its values as
//           [32 tokens][head_size in whole vectors] (tensor/kernels.h, kv_key_bytes()).
// Int8      Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", sec. 4
//           (keys and values turned by Hadamard matrices before they are rounded): queries and keys
//           are turned alike, which leaves their products, and attention's results are turned back.
//           A number is -127 to 127 times the scale of its head at its position.
// Private to run/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/budget.h"
#include "base/result.h"
#include "model/network.h"
#include "tensor/kernels.h"

namespace ration {

struct KvShape {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  KvType type = KvType::kF16;

  int64_t head_bytes() const {
    return kv_key_bytes(type, head_size) + kv_value_bytes(type, head_size);
  }
  int64_t block_bytes() const { return layers * kv_heads * head_bytes(); }
  // Byte offsets inside a block of one head's keys and values.
  int64_t key_offset(int64_t layer, int64_t head) const {
    return (layer * kv_heads + head) * head_bytes();
  }
  int64_t value_offset(int64_t layer, int64_t head) const {
    return key_offset(layer, head) + kv_key_bytes(type, head_size);
  }
};

// Queries, keys and values are turned before they are used, and results are turned back.
constexpr bool turns_heads(const KvShape& shape) { return shape.type == KvType::kInt8; }

// Layers whose blocks are taken and given back together.
struct KvGroup {
  KvShape shape;
  int64_t window = 0;  // the widest of its layers; 0: they see everything
};
// Where a layer's keys and values are.
struct KvPlace {
  size_t group = 0;
  int64_t layer = 0;  // within the group
};
struct KvLayout {
  std::vector<KvGroup> groups;  // one or two: layers that see everything, windowed ones
  std::vector<KvPlace> places;  // by attention layer
};
inline constexpr size_t kKvGroups = 2;
KvLayout kv_layout(const Network& network, KvType type);

// Tokens that windowed layers hold beyond their window, so that drafts can be dropped again.
inline constexpr int64_t kKvWindowSlack = kKvBlockTokens;

// Writes the key or value x: [head_size] of one head at `position`, which lies in `block`.
void store_cached(const Kernels& kernels, const KvShape& shape, int64_t layer, int64_t head,
                  bool is_key, const float* x, int64_t position, std::byte* block);

// Turns a head by the Hadamard matrix of the largest power of two in n, over the root of that
// (done twice it is undone): outliers are spread over the others. x: [n], in place.
void turn_head(float* x, int64_t n);

constexpr int64_t kv_blocks_for(int64_t tokens) {
  return (tokens + kKvBlockTokens - 1) / kKvBlockTokens;
}

// single-thread: the engine's. REQUIRES: all blocks are given back before it is destroyed.
class KvPool {
 public:
  // Reserves addresses for `blocks_max` blocks; memory is taken block by block. kIo when the system
  // has no address space left.
  static Result<std::unique_ptr<KvPool>> make(const KvShape& shape, int64_t blocks_max,
                                              Budget& budget);
  ~KvPool();
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  const KvShape& shape() const { return shape_; }
  int64_t blocks_max() const { return static_cast<int64_t>(charges_.size()); }
  int64_t blocks_free() const { return static_cast<int64_t>(free_.size()); }

  // A block with undefined content, charged under Tag::kKv, while it is spare under Tag::kPrefix.
  // kOverBudget when the pool or its budget is used up.
  Result<std::byte*> take();
  // One more owner of a block.
  void share(std::byte* block);
  bool is_shared(const std::byte* block) const { return owners_[index_of(block)] > 1; }
  // Says that one of a block's owners only keeps it for later, or that it does so no more.
  void set_kept(std::byte* block, bool kept);
  bool is_spare(const std::byte* block) const;
  // Blocks that all their owners only keep for later.
  int64_t blocks_spare() const { return spare_; }
  int64_t block_bytes() const { return stride_; }
  // One owner less; with the last, the bytes go back to the system and to the budget.
  void give_back(std::byte* block);

 private:
  KvPool(const KvShape& shape, int64_t blocks_max, Budget& budget, std::byte* base);
  std::byte* address(int64_t index) const { return base_ + index * stride_; }
  size_t index_of(const std::byte* block) const;
  void count(size_t index, int32_t owners, int32_t keepers);

  const KvShape shape_;
  const int64_t stride_;  // block bytes, rounded up to whole pages
  Budget& budget_;
  std::byte* const base_;
  std::vector<int64_t> free_;  // the lowest index last
  std::vector<Charge> charges_;
  std::vector<int32_t> owners_;
  std::vector<int32_t> keepers_;  // of these
  int64_t spare_ = 0;
};

}  // namespace ration
