#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "samples.h"
#include "sets.h"

namespace ration {
namespace {

// A paged cache of one kv head: blocks of 32 keys [size, 32], a gap, 32 values [32, columns], in
// int8 each with their scales behind them.
struct Cache {
  int64_t head_size;
  KvType type;
  std::vector<std::vector<uint16_t>> store;
  std::vector<const std::byte*> blocks;
  int64_t key_offset = 4;
  int64_t value_offset;

  Cache(int64_t size, int64_t positions, Rng& rng, KvType kv_type = KvType::kF16)
      : head_size(size), type(kv_type) {
    value_offset = key_offset + kv_key_bytes(type, size) + 10;
    for (int64_t p = 0; p < positions; p += 32) {
      std::vector<uint16_t> block(
          static_cast<size_t>((value_offset + kv_value_bytes(type, size)) / 2));
      for (uint16_t& half : block) half = f32_to_f16(samples::normal(rng));
      store.push_back(std::move(block));
      blocks.push_back(reinterpret_cast<const std::byte*>(store.back().data()));
    }
    if (type == KvType::kF16) return;
    for (int64_t p = 0; p < positions; ++p) {
      std::byte* block = bytes_of(p);
      for (int64_t i = 0; i < size; ++i) {
        block[key_offset + i * 32 + p % 32] = static_cast<std::byte>(rng.below(255) - 127);
        block[value_offset + p % 32 * attend_columns_of(size) + i] =
            static_cast<std::byte>(rng.below(255) - 127);
      }
      key_at(p, 0) = f32_to_f16(static_cast<float>(1 + rng.below(9)) / 512);
      value_at(p, 0) = f32_to_f16(static_cast<float>(1 + rng.below(9)) / 512);
    }
  }
  std::byte* bytes_of(int64_t position) {
    return reinterpret_cast<std::byte*>(store[static_cast<size_t>(position / 32)].data());
  }
  // The number, or, of int8, its scale.
  uint16_t& key_at(int64_t position, int64_t i) {
    auto* halves = reinterpret_cast<uint16_t*>(bytes_of(position) + key_offset);
    if (type == KvType::kF16) return halves[i * 32 + position % 32];
    return halves[head_size * 16 + position % 32];
  }
  uint16_t& value_at(int64_t position, int64_t i) {
    auto* halves = reinterpret_cast<uint16_t*>(bytes_of(position) + value_offset);
    const int64_t columns = attend_columns_of(head_size);
    if (type == KvType::kF16) return halves[position % 32 * columns + i];
    return halves[columns * 16 + position % 32];
  }
  double key(int64_t position, int64_t i) const {
    auto* self = const_cast<Cache*>(this);
    const double half = static_cast<double>(f16_to_f32(self->key_at(position, i)));
    if (type == KvType::kF16) return half;
    return half *
           static_cast<int8_t>(self->bytes_of(position)[key_offset + i * 32 + position % 32]);
  }
  double value(int64_t position, int64_t i) const {
    auto* self = const_cast<Cache*>(this);
    const double half = static_cast<double>(f16_to_f32(self->value_at(position, i)));
    if (type == KvType::kF16) return half;
    const int64_t columns = attend_columns_of(head_size);
    return half * static_cast<int8_t>(
                      self->bytes_of(position)[value_offset + position % 32 * columns + i]);
  }
};

// Several tokens in one call, of which the last is at `end - 1` and sees positions from `begin` on
// (when that is not 0: through a window). -> [tokens, heads, size]
std::vector<float> attend(const Kernels& set, const Cache& cache, const std::vector<float>& query,
                          int64_t heads, int64_t begin, int64_t end, float softcap,
                          int64_t tokens = 1, bool sees_later = false) {
  const int64_t columns = attend_columns_of(cache.head_size);
  const auto rows = static_cast<size_t>(tokens * heads);
  std::vector<float> out(rows * static_cast<size_t>(columns), 777.0f);
  std::vector<float> largest(rows), total(rows);
  set.attend({.query = query.data(),
              .query_stride = heads * cache.head_size,
              .tokens = tokens,
              .heads = heads,
              .head_size = cache.head_size,
              .type = cache.type,
              .blocks = cache.blocks.data(),
              .key_offset = cache.key_offset,
              .value_offset = cache.value_offset,
              .position = end - tokens,
              .window = begin > 0 ? end - begin : 0,
              .sees_later = sees_later,
              .begin = std::max<int64_t>(begin - tokens + 1, 0) / 32 * 32,
              .end = end,
              .scale = 1 / std::sqrt(static_cast<float>(cache.head_size)),
              .softcap = softcap,
              .out = out.data(),
              .largest = largest.data(),
              .total = total.data()});
  std::vector<float> normed;
  for (size_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < cache.head_size; ++i) {
      normed.push_back(out[row * static_cast<size_t>(columns) + static_cast<size_t>(i)] /
                       total[row]);
    }
  }
  return normed;
}

std::vector<double> expected(const Cache& cache, const std::vector<float>& query, int64_t heads,
                             int64_t begin, int64_t end, float softcap) {
  const int64_t size = cache.head_size;
  std::vector<double> out;
  for (int64_t h = 0; h < heads; ++h) {
    std::vector<double> weights;
    double largest = -1e300;
    for (int64_t p = begin; p < end; ++p) {
      double dot = 0;
      for (int64_t i = 0; i < size; ++i) {
        dot += static_cast<double>(query[static_cast<size_t>(h * size + i)]) * cache.key(p, i);
      }
      double score = dot / std::sqrt(static_cast<double>(size));
      const double cap = static_cast<double>(softcap);
      if (cap > 0) score = cap * std::tanh(score / cap);
      weights.push_back(score);
      largest = std::max(largest, score);
    }
    double total = 0;
    for (double& weight : weights) total += weight = std::exp(weight - largest);
    for (int64_t i = 0; i < size; ++i) {
      double sum = 0;
      for (int64_t p = begin; p < end; ++p) {
        sum += weights[static_cast<size_t>(p - begin)] * cache.value(p, i);
      }
      out.push_back(sum / total);
    }
  }
  return out;
}

class Attend : public testing::TestWithParam<samples::NamedSet> {};

TEST_P(Attend, equals_softmax_in_double) {
  Rng rng(1);
  for (int64_t size : {8, 32, 40, 64, 80, 96, 128, 256}) {
    for (int64_t heads : {1, 2, 3, 5, 7, 8, 9}) {
      const KvType type = (size / 8 + heads) % 2 ? KvType::kInt8 : KvType::kF16;
      const Cache cache(size, 200, rng, type);
      const std::vector<float> query = samples::random_numbers(heads * size, rng);
      for (auto [begin, end] : {std::pair{0, 1}, {0, 31}, {0, 32}, {31, 33}, {0, 193}, {45, 200}}) {
        for (float softcap : {0.0f, 2.0f}) {
          const std::vector<float> found =
              attend(*GetParam().kernels, cache, query, heads, begin, end, softcap);
          const std::vector<double> wanted = expected(cache, query, heads, begin, end, softcap);
          for (size_t i = 0; i < wanted.size(); ++i) {
            ASSERT_NEAR(static_cast<double>(found[i]), wanted[i], 5e-6)
                << "head size " << size << " heads " << heads << " " << begin << ".." << end;
          }
        }
      }
    }
  }
}

TEST_P(Attend, where_later_tokens_are_seen_every_token_sees_all) {
  Rng rng(6);
  const int64_t size = 40, heads = 3;
  for (const int64_t end : {1, 31, 32, 70}) {
    const Cache cache(size, 96, rng);
    const std::vector<float> query = samples::random_numbers(end * heads * size, rng);
    const std::vector<float> found =
        attend(*GetParam().kernels, cache, query, heads, 0, end, 0, end, /*sees_later=*/true);
    for (int64_t t = 0; t < end; ++t) {
      const auto first = query.begin() + t * heads * size;
      const std::vector<double> wanted =
          expected(cache, {first, first + heads * size}, heads, 0, end, 0);
      for (size_t i = 0; i < wanted.size(); ++i) {
        ASSERT_NEAR(static_cast<double>(found[static_cast<size_t>(t * heads * size) + i]),
                    wanted[i], 5e-6)
            << "token " << t << " of " << end;
      }
    }
  }
}

TEST_P(Attend, of_a_head_does_not_depend_on_the_other_heads_or_the_blocks_addresses) {
  Rng rng(2);
  for (auto [size, type] : {std::pair{64, KvType::kF16},
                            {80, KvType::kF16},
                            {128, KvType::kF16},
                            {64, KvType::kInt8},
                            {80, KvType::kInt8}}) {
    const Cache cache(size, 100, rng, type);
    const Cache moved = cache;  // other addresses
    Cache rebased = moved;
    for (size_t b = 0; b < rebased.store.size(); ++b) {
      rebased.blocks[b] = reinterpret_cast<const std::byte*>(rebased.store[b].data());
    }
    const std::vector<float> query = samples::random_numbers(9 * size, rng);
    const std::vector<float> all = attend(*GetParam().kernels, cache, query, 9, 3, 97, 0);
    for (int64_t h = 0; h < 9; ++h) {
      const std::vector<float> own(query.begin() + h * size, query.begin() + (h + 1) * size);
      const std::vector<float> found = attend(*GetParam().kernels, rebased, own, 1, 3, 97, 0);
      for (int64_t i = 0; i < size; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(found[static_cast<size_t>(i)]),
                  std::bit_cast<uint32_t>(all[static_cast<size_t>(h * size + i)]))
            << "head " << h;
      }
    }
  }
}

TEST_P(Attend, of_a_token_does_not_depend_on_the_tokens_in_the_call) {
  Rng rng(4);
  for (auto [heads, size, type] : {std::tuple{1, 24, KvType::kF16},
                                   {3, 24, KvType::kF16},
                                   {1, 48, KvType::kInt8},
                                   {3, 48, KvType::kInt8}}) {
    const Cache cache(size, 200, rng, type);
    constexpr int64_t kTokens = 75;  // more rows than are held at a time
    const std::vector<float> query = samples::random_numbers(kTokens * heads * size, rng);
    for (int64_t begin : {0, 120}) {
      const std::vector<float> all =
          attend(*GetParam().kernels, cache, query, heads, begin, 190, 0, kTokens);
      for (int64_t t = 0; t < kTokens; ++t) {
        const auto first = query.begin() + t * heads * size;
        const int64_t later = kTokens - 1 - t;
        const std::vector<float> found =
            attend(*GetParam().kernels, cache, {first, first + heads * size}, heads,
                   begin > 0 ? begin - later : 0, 190 - later, 0);
        ASSERT_EQ(std::memcmp(found.data(), all.data() + t * heads * size,
                              static_cast<size_t>(heads * size) * sizeof(float)),
                  0)
            << heads << " heads, token " << t;
      }
    }
  }
}

TEST_P(Attend, reads_nothing_of_positions_that_no_token_sees) {
  const int64_t size = 40;
  Rng rng(5);
  for (const KvType type : {KvType::kF16, KvType::kInt8}) {
    Cache cache(size, 96, rng, type);
    const std::vector<float> query = samples::random_numbers(size, rng);
    const std::vector<float> wanted = attend(*GetParam().kernels, cache, query, 1, 40, 70, 0);
    const uint16_t kNan = 0x7e00;
    for (int64_t p : {32, 39, 70, 95}) {
      for (int64_t i = 0; i < size; ++i) cache.key_at(p, i) = cache.value_at(p, i) = kNan;
    }
    EXPECT_EQ(attend(*GetParam().kernels, cache, query, 1, 40, 70, 0), wanted);
  }
}

TEST_P(Attend, picks_the_value_whose_key_matches_when_scores_are_far_apart) {
  const int64_t size = 64;
  Rng rng(3);
  Cache cache(size, 64, rng);
  for (int64_t i = 0; i < size; ++i) {  // position 40 alone points along the query
    cache.key_at(40, i) = f32_to_f16(60);
  }
  const std::vector<float> query(static_cast<size_t>(size), 50.0f);
  const std::vector<float> found = attend(*GetParam().kernels, cache, query, 1, 0, 64, 0);
  for (int64_t i = 0; i < size; ++i) {
    EXPECT_EQ(static_cast<double>(found[static_cast<size_t>(i)]), cache.value(40, i));
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, Attend, testing::ValuesIn(samples::all_sets()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ration
