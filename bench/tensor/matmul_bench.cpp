// How fast each set multiplies each weight type: one to eight tokens over weights that no cache
// holds (GB/s of weights), and 128 tokens (GOP/s, two operations a weight and token). Attention:
// GB/s of keys and values. deep/...: as prompts are multiplied with AMX or AVX-512. Every product
// is checked against one in double before it is timed.
//
// matmul_bench --benchmark_filter='decode/avx2/Q4_K'
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "base/pool.h"
#include "samples.h"

namespace ration {
namespace {

constexpr int64_t kDecodeBytes = 160'000'000;  // several times the last-level cache
constexpr int64_t kCols = 1536;

struct Case {
  const Kernels* set;
  Layout layout;
  DType dtype;
  int threads;
  int64_t tokens;
  bool deep = false;
};

// The first rows are random, the rest repeat them: filling 160 MB from the generator takes seconds.
samples::Weights many_rows(DType dtype, int64_t rows) {
  Rng rng(1);
  const int64_t distinct = std::min<int64_t>(rows, 256);
  samples::Weights some = samples::random_weights(dtype, distinct, kCols, rng);
  Matrix matrix{.dtype = dtype, .rows = rows, .cols = kCols};
  auto bytes = std::make_shared<samples::Bytes64>(matrix.bytes());
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(bytes->data() + r * matrix.row_bytes(), some.matrix.row(r % distinct),
                static_cast<size_t>(matrix.row_bytes()));
  }
  matrix.data = bytes->data();
  return {matrix, bytes};
}

// error: relative to the summed magnitudes of a product's terms
void check(const Matrix& w, const samples::Tokens& x, const std::vector<float>& out, double error) {
  std::vector<float> row(static_cast<size_t>(w.cols));
  for (int64_t r = 0; r < w.rows; r += w.rows / 37 + 1) {
    dequantize_row(w, r, row.data());
    for (int64_t t = 0; t < x.activations.tokens; ++t) {
      double sum = 0, magnitude = 0;
      for (int64_t c = 0; c < w.cols; ++c) {
        const double term = static_cast<double>(row[static_cast<size_t>(c)]) *
                            x.numbers[static_cast<size_t>(t * w.cols + c)];
        sum += term;
        magnitude += std::fabs(term);
      }
      const double found = static_cast<double>(out[static_cast<size_t>(t * w.rows + r)]);
      CHECK(std::fabs(found - sum) <= error * magnitude, "the product is wrong");
    }
  }
}

void multiply(benchmark::State& state, const Case& c) {
  const int64_t bytes_a_row = row_bytes(c.dtype, kCols);
  const int64_t rows = c.tokens < 128 ? kDecodeBytes / bytes_a_row / 32 * 32 : 2048;
  samples::Weights w = many_rows(c.dtype, rows);
  if (c.layout == Layout::kPanels) w = samples::packed(w);
  Rng rng(2);
  const ActivationFormat format = c.deep ? ActivationFormat::kInt8Deep : c.set->format_of(c.dtype);
  const samples::Tokens x =
      samples::quantized(*c.set, format, samples::random_numbers(c.tokens * kCols, rng), kCols);
  std::vector<float> out(static_cast<size_t>(rows * c.tokens));
  Pool pool(c.threads);
  const auto once = [&] {
    pool.run([&](int worker) {
      const Share share = share_of(rows, worker, c.threads, 32);
      c.set->matmul(w.matrix, x.activations, share.begin, share.end, out.data(), rows);
    });
  };
  once();
  check(w.matrix, x, out, c.deep ? 0.02 : 2e-6);
  for (auto _ : state) once();
  const double count = static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(count * static_cast<double>(w.matrix.bytes()) / 1e9,
                                              benchmark::Counter::kIsRate);
  state.counters["GOP/s"] = benchmark::Counter(
      count * 2 * static_cast<double>(rows * kCols * c.tokens) / 1e9, benchmark::Counter::kIsRate);
}

// One layer of one token: `heads` query heads on one kv head, all segments of its context.
void attend(benchmark::State& state, const Kernels* set, KvType type, int64_t heads,
            int64_t head_size, int64_t positions) {
  const int64_t key_bytes = kv_key_bytes(type, head_size);
  const int64_t block_halves = (key_bytes + kv_value_bytes(type, head_size)) / 2;
  const int64_t blocks = (positions + 31) / 32;
  Rng rng(3);
  std::vector<uint16_t> cache(static_cast<size_t>(blocks * block_halves));
  for (uint16_t& half : cache) half = f32_to_f16(samples::normal(rng));
  std::vector<const std::byte*> table;
  for (int64_t b = 0; b < blocks; ++b) {
    table.push_back(reinterpret_cast<const std::byte*>(cache.data() + b * block_halves));
  }
  const std::vector<float> query = samples::random_numbers(heads * head_size, rng);
  std::vector<float> out(query.size());
  std::vector<float> largest(static_cast<size_t>(heads)), total(static_cast<size_t>(heads));
  AttendArguments arguments{.query = query.data(),
                            .query_stride = heads * head_size,
                            .tokens = 1,
                            .heads = heads,
                            .head_size = head_size,
                            .type = type,
                            .blocks = table.data(),
                            .value_offset = key_bytes,
                            .position = positions - 1,
                            .scale = 0.1f,
                            .out = out.data(),
                            .largest = largest.data(),
                            .total = total.data()};
  for (auto _ : state) {
    for (arguments.begin = 0; arguments.begin < positions; arguments.begin += kAttendSegment) {
      arguments.end = std::min(arguments.begin + kAttendSegment, positions);
      set->attend(arguments);
    }
  }
  state.counters["GB/s"] =
      benchmark::Counter(static_cast<double>(state.iterations() * blocks * block_halves * 2) / 1e9,
                         benchmark::Counter::kIsRate);
}

void register_all() {
  for (const Kernels* set : available_kernels()) {
    const std::string isa(set->isa);
    for (const DTypeInfo& info : kDTypes) {
      for (Layout layout : {Layout::kRowMajor, Layout::kPanels}) {
        if (layout == Layout::kPanels && !has_panels(info.dtype)) continue;
        const std::string from = layout == Layout::kPanels ? "panels" : "file";
        for (int threads : {1, 2}) {
          for (int64_t tokens : {1, 2, 3, 4, 8, 16, 128}) {
            const Case c{set, layout, info.dtype, threads, tokens};
            const std::string work = tokens == 1 ? "decode" : "tokens" + std::to_string(tokens);
            const std::string name =
                fmt::format("{}/{}/{}/{}/threads{}", work, isa, info.name, from, threads);
            const auto add = [](const std::string& title, const Case& work) {
              benchmark::RegisterBenchmark(title.c_str(), [work](benchmark::State& state) {
                multiply(state, work);
              })->UseRealTime();
            };
            add(name, c);
            if (!set->deep || !has_panels(info.dtype)) continue;
            Case deep = c;
            deep.deep = true;
            add("deep/" + name, deep);
          }
        }
      }
    }
    for (auto [heads, size] : {std::pair{3, 64}, {6, 128}, {1, 128}, {4, 256}}) {
      for (const KvType type : {KvType::kF16, KvType::kInt8}) {
        const std::string name =
            fmt::format("attend/{}/{}/heads{}x{}", isa, kv_type_name(type), heads, size);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          attend(state, set, type, heads, size, 2048);
        });
      }
    }
  }
}

}  // namespace
}  // namespace ration

int main(int argc, char** argv) {
  ration::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
