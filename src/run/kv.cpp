#include "run/kv.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/file.h"

namespace ration {
namespace {

constexpr int64_t kPageBytes = 4096;

int64_t stride_of(const KvShape& shape) {
  return (shape.block_bytes() + kPageBytes - 1) / kPageBytes * kPageBytes;
}

// n numbers to int8, `step` apart, with the scale they share.
void store_int8(const float* x, int64_t n, int64_t step, int8_t* out, uint16_t* scale) {
  constexpr float kMost = 127;
  constexpr float kRound = 3 << 22;  // adding it leaves no place for a fraction
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  *scale = f32_to_f16(largest / kMost);
  const float unit = f16_to_f32(*scale);
  // A unit that F16 cannot hold: numbers too small to matter, or none at all.
  const float inverse = unit > 0 && std::isfinite(unit) ? 1 / unit : 0;
  for (int64_t i = 0; i < n; ++i) {
    const float quant = std::max(-kMost, std::min(kMost, x[i] * inverse));  // 127 for a NaN
    out[i * step] = static_cast<int8_t>(quant + kRound - kRound);
  }
}

}  // namespace

KvLayout kv_layout(const Network& network, KvType type) {
  KvGroup whole{.shape = {0, network.kv_heads, network.head_size, type}};
  KvGroup windowed = whole;
  std::vector<bool> is_windowed;
  for (const Stage& stage : network.stages) {
    const auto* attention = std::get_if<AttentionStage>(&stage);
    if (!attention) continue;
    is_windowed.push_back(attention->window > 0);
    windowed.window = std::max(windowed.window, attention->window);
  }
  KvLayout layout;
  for (const bool window : is_windowed) {
    KvGroup& group = window ? windowed : whole;
    // Of an encoder, what a layer keeps is of no use after it: all layers have one place.
    const int64_t layer = network.sees_later ? 0 : group.shape.layers;
    layout.places.push_back({.group = window ? size_t{1} : size_t{0}, .layer = layer});
    group.shape.layers = layer + 1;
  }
  if (whole.shape.layers > 0) layout.groups.push_back(whole);
  if (windowed.shape.layers > 0) layout.groups.push_back(windowed);
  if (whole.shape.layers == 0) {
    for (KvPlace& place : layout.places) place.group = 0;
  }
  return layout;
}

void store_cached(const Kernels& kernels, const KvShape& shape, int64_t layer, int64_t head,
                  bool is_key, const float* x, int64_t position, std::byte* block) {
  const int64_t size = shape.head_size;
  const int64_t slot = position % kKvBlockTokens;
  // From one number to the next, and to the first: keys stand in columns, values in lines.
  const int64_t step = is_key ? kKvBlockTokens : 1;
  const int64_t first = is_key ? slot : slot * attend_columns_of(size);
  std::byte* numbers =
      block + (is_key ? shape.key_offset(layer, head) : shape.value_offset(layer, head));
  if (shape.type == KvType::kInt8) {
    auto* quants = reinterpret_cast<int8_t*>(numbers);
    auto* scales = reinterpret_cast<uint16_t*>(
        numbers + kKvBlockTokens * (is_key ? size : attend_columns_of(size)));
    return store_int8(x, size, step, quants + first, scales + slot);
  }
  if (shape.type == KvType::kF32) {
    auto* out = reinterpret_cast<float*>(numbers) + first;
    for (int64_t i = 0; i < size; ++i) out[i * step] = x[i];
    return;
  }
  auto* out = reinterpret_cast<uint16_t*>(numbers) + first;
  if (!is_key) return kernels.to_f16(x, size, out);
  std::array<uint16_t, 64> halves;
  for (int64_t i = 0; i < size; i += std::ssize(halves)) {
    const int64_t count = std::min<int64_t>(std::ssize(halves), size - i);
    kernels.to_f16(x + i, count, halves.data());
    for (int64_t j = 0; j < count; ++j) out[(i + j) * step] = halves[static_cast<size_t>(j)];
  }
}

void turn_head(float* x, int64_t n) {
  const int64_t run = n & -n;  // the largest power of two in it
  const float scale = 1 / std::sqrt(static_cast<float>(run));
  for (int64_t half = 1; half < run; half *= 2) {
    for (int64_t begin = 0; begin < n; begin += 2 * half) {
      for (float* p = x + begin; p < x + begin + half; ++p) {
        const float sum = p[0] + p[half];
        p[half] = p[0] - p[half];
        p[0] = sum;
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) x[i] *= scale;
}

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
  owners_.resize(static_cast<size_t>(blocks_max));
  keepers_.resize(static_cast<size_t>(blocks_max));
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
  count(static_cast<size_t>(index), 1, 0);
  return address(index);
}

size_t KvPool::index_of(const std::byte* block) const {
  const int64_t index = (block - base_) / stride_;
  CHECK(index >= 0 && index < blocks_max() && block == address(index));
  return static_cast<size_t>(index);
}

void KvPool::share(std::byte* block) {
  CHECK(owners_[index_of(block)] > 0, "a block that nobody owns cannot be shared");
  count(index_of(block), 1, 0);
}

void KvPool::set_kept(std::byte* block, bool kept) { count(index_of(block), 0, kept ? 1 : -1); }

void KvPool::count(size_t index, int32_t owners, int32_t keepers) {
  const auto spare = [&] { return owners_[index] > 0 && owners_[index] == keepers_[index]; };
  const bool was_spare = spare();
  owners_[index] += owners;
  keepers_[index] += keepers;
  if (spare() == was_spare) return;
  spare_ += was_spare ? -1 : 1;
  charges_[index].retag(was_spare ? Tag::kKv : Tag::kPrefix);
}

bool KvPool::is_spare(const std::byte* block) const {
  const size_t index = index_of(block);
  return owners_[index] > 0 && owners_[index] == keepers_[index];
}

void KvPool::give_back(std::byte* block) {
  const size_t index = index_of(block);
  CHECK(owners_[index] > 0, "block given back twice");
  count(index, -1, 0);
  if (owners_[index] > 0) return;
  ::madvise(block, static_cast<size_t>(stride_), MADV_DONTNEED);
  charges_[index].release();
  free_.push_back(static_cast<int64_t>(index));
}

}  // namespace ration
