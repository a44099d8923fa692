#include "run/kv.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include "base/file.h"

namespace ration {
namespace {

constexpr int64_t kPageBytes = 4096;

int64_t stride_of(const KvShape& shape) {
  return (shape.block_bytes() + kPageBytes - 1) / kPageBytes * kPageBytes;
}

}  // namespace

Result<std::unique_ptr<KvPool>> KvPool::make(const KvShape& shape, int64_t blocks_max,
                                             Budget& budget) {
  CHECK(blocks_max > 0 && shape.block_bytes() > 0);
  const auto size = static_cast<size_t>(stride_of(shape) * blocks_max);
  void* base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return Error{Code::kIo,
                 fmt::format("cannot reserve {} of addresses for the cache: {}",
                             to_text(Bytes{static_cast<int64_t>(size)}), error_text(errno))};
  }
  return std::unique_ptr<KvPool>(
      new KvPool(shape, blocks_max, budget, static_cast<std::byte*>(base)));
}

KvPool::KvPool(const KvShape& shape, int64_t blocks_max, Budget& budget, std::byte* base)
    : shape_(shape), stride_(stride_of(shape)), budget_(budget), base_(base) {
  charges_.resize(static_cast<size_t>(blocks_max));
  for (int64_t index = blocks_max; index-- > 0;) free_.push_back(index);
}

KvPool::~KvPool() {
  CHECK(blocks_free() == blocks_max(),
        fmt::format("{} blocks of {} are free", blocks_free(), blocks_max()));
  ::munmap(base_, static_cast<size_t>(stride_ * blocks_max()));
}

Result<std::byte*> KvPool::take() {
  if (free_.empty()) {
    return Error{Code::kOverBudget,
                 fmt::format("all {} blocks of the key/value cache are in use", blocks_max()),
                 Shortfall{.wanted = stride_, .available = 0}};
  }
  Result<Charge> charge = budget_.reserve(Tag::kKv, Bytes{stride_});
  if (!charge) return charge.error();
  const int64_t index = free_.back();
  free_.pop_back();
  charges_[static_cast<size_t>(index)] = std::move(*charge);
  return address(index);
}

void KvPool::give_back(std::byte* block) {
  const int64_t index = (block - base_) / stride_;
  CHECK(block == address(index) && index >= 0 && index < blocks_max());
  Charge& charge = charges_[static_cast<size_t>(index)];
  CHECK(charge.bytes() > Bytes{0}, "block given back twice");
  ::madvise(block, static_cast<size_t>(stride_), MADV_DONTNEED);
  charge.release();
  free_.push_back(index);
}

}  // namespace ration
