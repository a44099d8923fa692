// run/kv.h - the paged cache of keys and values: blocks of 32 tokens, taken from a budget one by
// one.
//
// Source    Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with
//           PagedAttention", sec. 4.1 (blocks and block tables).
// Layout    one block = [layer][key, value][kv head][32 tokens][head_size]: a head's 32 keys
//           are contiguous, so attention streams them.
// Private to run/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/budget.h"
#include "base/result.h"
#include "tensor/kernels.h"

namespace ration {

struct KvShape {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  KvType type = KvType::kF16;

  int64_t vector_bytes() const { return head_size * kv_element_bytes(type); }
  int64_t head_bytes() const { return kKvBlockTokens * vector_bytes(); }
  int64_t block_bytes() const { return layers * 2 * kv_heads * head_bytes(); }
  // Byte offsets inside a block of one head's keys and values.
  int64_t key_offset(int64_t layer, int64_t head) const {
    return (layer * 2 * kv_heads + head) * head_bytes();
  }
  int64_t value_offset(int64_t layer, int64_t head) const {
    return ((layer * 2 + 1) * kv_heads + head) * head_bytes();
  }
};

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

  // A block with undefined content, charged under Tag::kKv. kOverBudget when the pool or its budget
  // is used up.
  Result<std::byte*> take();
  // The bytes go back to the system and to the budget.
  void give_back(std::byte* block);

 private:
  KvPool(const KvShape& shape, int64_t blocks_max, Budget& budget, std::byte* base);
  std::byte* address(int64_t index) const { return base_ + index * stride_; }

  const KvShape shape_;
  const int64_t stride_;  // block bytes, rounded up to whole pages
  Budget& budget_;
  std::byte* const base_;
  std::vector<int64_t> free_;  // the lowest index last
  std::vector<Charge> charges_;
};

}  // namespace ration
