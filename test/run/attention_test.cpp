#include "run/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/rng.h"

namespace ration {
namespace {

constexpr int64_t kPositions = 5200;  // more segments than one thread holds results of
constexpr int64_t kTokens = 70;       // at the end of them
constexpr int64_t kSize = 24;         // half a vector is padding
constexpr int64_t kHeads = 6, kKvHeads = 2, kLayer = 1;

// Numbers that F16 holds exactly.
std::vector<float> random_floats(int64_t count, Rng& rng) {
  std::vector<float> numbers(static_cast<size_t>(count));
  for (float& x : numbers) x = static_cast<float>(rng.below(2049)) / 1024 - 1;
  return numbers;
}

// A cache of random keys and values, and queries for its last tokens.
struct Scene {
  Network network;
  KvShape shape{.layers = 2, .kv_heads = kKvHeads, .head_size = kSize};
  std::vector<float> keys, values, queries;  // [position or token][head][kSize]
  std::vector<std::vector<std::byte>> store;
  std::vector<std::byte*> blocks;
  KvLayout layout{.groups = {{.shape = shape}}, .places = {{0, 0}, {0, 1}}};
  AttentionStage stage;

  explicit Scene(const Kernels& kernels) {
    network.heads = kHeads;
    network.kv_heads = kKvHeads;
    network.head_size = kSize;
    network.width = network.inner = kHeads * kSize;
    Rng rng(9);
    keys = random_floats(kPositions * kKvHeads * kSize, rng);
    values = random_floats(kPositions * kKvHeads * kSize, rng);
    queries = random_floats(kTokens * kHeads * kSize, rng);
    stage.scale = 1.5f;  // scores far enough apart that maxima matter
    for (int64_t p = 0; p < kPositions; ++p) {
      if (p % kKvBlockTokens == 0) {
        store.emplace_back(static_cast<size_t>(shape.block_bytes()));
        blocks.push_back(store.back().data());
      }
      for (int64_t head = 0; head < kKvHeads; ++head) {
        const int64_t at = (p * kKvHeads + head) * kSize;
        for (const bool is_key : {true, false}) {
          store_cached(kernels, shape, kLayer, head, is_key, (is_key ? keys : values).data() + at,
                       p, store.back().data());
        }
      }
    }
  }

  // [tokens][heads][kSize] for the tokens from `first` on, `chunk` a step.
  std::vector<float> attend(const Kernels& kernels, int threads, int64_t first,
                            int64_t chunk) const {
    Pool pool(threads);
    Budget budget("test", {.hard = Bytes{64 * kMiB}});
    auto space = Workspace::make(network, kernels, threads,
                                 {.context = kPositions, .step_tokens_max = chunk}, budget);
    CHECK(space);
    std::vector<float> out;
    for (int64_t begin = first; begin < kTokens; begin += chunk) {
      const int64_t count = std::min(chunk, kTokens - begin);
      std::vector<BatchToken> batch;
      for (int64_t t = 0; t < count; ++t) {
        batch.push_back({.position = kPositions - kTokens + begin + t, .tables = {blocks.data()}});
      }
      std::copy_n(queries.data() + begin * kHeads * kSize, count * kHeads * kSize, (*space)->query);
      const ForwardContext context{.network = network,
                                   .kernels = kernels,
                                   .pool = pool,
                                   .workspace = **space,
                                   .kv = layout,
                                   .long_context = false};
      Attention(context, batch).run(stage, kLayer);
      const float* attended = (*space)->attended;
      out.insert(out.end(), attended, attended + count * kHeads * kSize);
    }
    return out;
  }

  // The definition, in double.
  std::vector<double> expected(int64_t token, int64_t head) const {
    const int64_t end = kPositions - kTokens + token + 1;
    const int64_t begin = stage.window > 0 ? std::max<int64_t>(0, end - stage.window) : 0;
    const float* query = queries.data() + (token * kHeads + head) * kSize;
    const auto at = [&](int64_t p) { return (p * kKvHeads + head / (kHeads / kKvHeads)) * kSize; };
    std::vector<double> sums(kSize, 0);
    double total = 0;
    for (int64_t p = begin; p < end; ++p) {
      double dot = 0;
      for (int64_t i = 0; i < kSize; ++i) {
        dot += static_cast<double>(query[i]) *
               static_cast<double>(keys[static_cast<size_t>(at(p) + i)]);
      }
      const double weight = std::exp(dot * static_cast<double>(stage.scale) - 20);
      total += weight;
      for (int64_t i = 0; i < kSize; ++i) {
        sums[static_cast<size_t>(i)] +=
            weight * static_cast<double>(values[static_cast<size_t>(at(p) + i)]);
      }
    }
    for (double& sum : sums) sum /= total;
    return sums;
  }
};

TEST(Attention, of_a_long_context_is_the_softmax_over_all_of_it) {
  for (const Kernels* kernels : available_kernels()) {
    Scene scene(*kernels);
    for (const int64_t window : {0, 700}) {
      scene.stage.window = window;
      constexpr int64_t kFirst = kTokens - 5;
      const std::vector<float> found = scene.attend(*kernels, 2, kFirst, 5);
      for (int64_t t = kFirst; t < kTokens; ++t) {
        for (int64_t head = 0; head < kHeads; ++head) {
          const std::vector<double> wanted = scene.expected(t, head);
          for (int64_t i = 0; i < kSize; ++i) {
            const int64_t index = ((t - kFirst) * kHeads + head) * kSize + i;
            ASSERT_NEAR(static_cast<double>(found[static_cast<size_t>(index)]),
                        wanted[static_cast<size_t>(i)], 5e-6)
                << kernels->isa << " window " << window << " token " << t << " head " << head;
          }
        }
      }
    }
  }
}

TEST(Attention, is_the_same_bits_for_every_chunk_and_thread_count) {
  const Kernels& kernels = *available_kernels().front();
  Scene scene(kernels);
  for (const int64_t window : {0, 700, 20}) {
    scene.stage.window = window;
    const std::vector<float> wanted = scene.attend(kernels, 1, 0, 1);
    for (const int threads : {1, 2, 3, 7}) {
      for (const int64_t chunk : {1, 9, 64, 70}) {
        if (threads > 2 && chunk == 1) continue;  // they only wait for each other
        const std::vector<float> found = scene.attend(kernels, threads, 0, chunk);
        ASSERT_EQ(std::memcmp(found.data(), wanted.data(), wanted.size() * sizeof(float)), 0)
            << "window " << window << " threads " << threads << " chunk " << chunk;
      }
    }
  }
}

}  // namespace
}  // namespace ration
