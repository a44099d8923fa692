#include "tensor/prove.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/rng.h"
#include "tensor/kernel/sets.h"

namespace ration {
namespace {

// A second panel with five rows; two full blocks and, where blocks are short, a part of a third;
// a full tile of tokens and three more.
constexpr int64_t kRows = 21, kTokens = 19, kColumnsMost = 544;
constexpr int64_t columns_for(const DTypeInfo& info) {
  return info.block_elements > 32 ? 512 : kColumnsMost;
}

// Relative to the root of the summed squares of a product's terms. Activations are chosen to be
// exact in every form, so that all but the deep products differ by F32 rounding alone.
constexpr double kExactError = 2e-5, kDeepError = 0.1;
constexpr double kBound = 2;           // how far a screen's bound may be above a product
constexpr double kVectorError = 1e-4;  // relative to the largest number

using Numbers = std::vector<float>;

class AlignedBytes {
 public:
  explicit AlignedBytes(int64_t bytes) : store_(static_cast<size_t>(bytes + 64)) {}
  std::byte* data() {
    const auto address = reinterpret_cast<uintptr_t>(store_.data());
    return store_.data() + (64 - address % 64) % 64;
  }

 private:
  std::vector<std::byte> store_;
};

// Whole numbers up to 127, of which every 32 have one: int8 holds them as they are.
Numbers whole_numbers(int64_t count, Rng& rng) {
  Numbers x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = i % 32 == 5 ? 127.0f : static_cast<float>(rng.below(255)) - 127;
  }
  return x;
}

// Numbers between -2 and 2.
Numbers small_numbers(int64_t count, Rng& rng) {
  Numbers x(static_cast<size_t>(count));
  for (float& number : x) number = static_cast<float>(4 * rng.uniform() - 2);
  return x;
}

// Random blocks whose numbers are of ordinary size, a few over and over.
void fill_blocks(const DTypeInfo& info, int64_t count, Rng& rng, std::byte* out) {
  const int64_t distinct = info.block_elements > 1 ? 7 : 67;
  std::array<float, 256> numbers{};
  for (int64_t i = 0; i < count; ++i) {
    std::byte* block = out + i * info.block_bytes;
    if (i >= distinct) {
      std::memcpy(block, block - distinct * info.block_bytes,
                  static_cast<size_t>(info.block_bytes));
      continue;
    }
    float largest = 0;
    do {
      for (int32_t b = 0; b < info.block_bytes; ++b) block[b] = static_cast<std::byte>(rng.next());
      dequantize(info.dtype, block, info.block_elements, numbers.data());
      largest = 0;
      for (int32_t c = 0; c < info.block_elements; ++c) {
        const float magnitude = std::fabs(numbers[static_cast<size_t>(c)]);
        if (!(magnitude <= largest)) largest = magnitude;  // NaN stays
      }
    } while (!(largest > 0.1f && largest < 10.0f));
  }
}

// One matrix in both layouts, the right product, and how large its terms are.
class ProductProof {
 public:
  // x: [kTokens, columns_for(info)]
  ProductProof(const DTypeInfo& info, const Numbers& x, Rng& rng)
      : cols_(columns_for(info)),
        file_(kRows * row_bytes(info.dtype, cols_)),
        panels_(has_panels(info.dtype) ? panels_bytes(info.dtype, kRows, cols_) : 0),
        split_(has_split_panels(info.dtype, cols_) ? panels_bytes(info.dtype, kRows, cols_) : 0),
        x_(x) {
    fill_blocks(info, kRows * cols_ / info.block_elements, rng, file_.data());
    matrix_ = {.dtype = info.dtype, .rows = kRows, .cols = cols_, .data = file_.data()};
    layouts_.push_back(matrix_);
    if (has_panels(info.dtype)) pack(Layout::kPanels, panels_.data());
    if (has_split_panels(info.dtype, cols_)) pack(Layout::kSplitPanels, split_.data());
    multiply_plainly();
  }

  std::string find_fault(const Kernels& kernels) {
    const DType dtype = matrix_.dtype;
    std::string fault = find_fault(kernels, kernels.format_of(dtype), kExactError);
    if (fault.empty() && kernels.deep && has_panels(dtype)) {
      fault = find_fault(kernels, ActivationFormat::kInt8Deep, kDeepError);
    }
    return fault;
  }

 private:
  std::string find_fault(const Kernels& kernels, ActivationFormat format, double error) {
    const std::string_view type = info_of(matrix_.dtype).name;
    const int64_t bytes = activation_row_bytes(format, cols_);
    AlignedBytes rows(kTokens * bytes);
    for (int64_t t = 0; t < kTokens; ++t) {
      kernels.quantize(format, x_.data() + t * cols_, cols_, rows.data() + t * bytes);
    }
    const auto multiply = [&](const Matrix& w, int64_t tokens) {
      Numbers out(static_cast<size_t>(tokens * kRows));
      kernels.matmul(w, {format, tokens, cols_, rows.data(), bytes}, 0, kRows, out.data(), kRows);
      return out;
    };
    const Numbers all = multiply(matrix_, kTokens);
    for (size_t i = 0; i < all.size(); ++i) {
      const double off = std::fabs(static_cast<double>(all[i]) - static_cast<double>(wanted_[i]));
      if (!(off <= error * terms_[i % kRows])) {
        return fmt::format("a product of {} is {}, wanted {}", type, all[i], wanted_[i]);
      }
    }
    const bool is_deep = format == ActivationFormat::kInt8Deep;
    for (const Matrix& matrix : layouts_) {
      if (is_deep && matrix.layout == Layout::kSplitPanels) continue;
      for (const int64_t tokens : {1, 2, 3, 7, 19}) {
        if (!is_start(multiply(matrix, tokens), all)) {
          return fmt::format("a product of {} differs with {} tokens", type, tokens);
        }
      }
    }
    if (is_deep || layouts_.back().layout != Layout::kSplitPanels) return "";
    Numbers bounds(kRows);
    kernels.screen(layouts_.back(), {format, 1, cols_, rows.data(), bytes}, 0, kRows, bounds.data(),
                   kRows);
    for (size_t r = 0; r < bounds.size(); ++r) {
      const double above = static_cast<double>(bounds[r]) - static_cast<double>(all[r]);
      if (!(above >= 0 && above <= kBound * terms_[r])) {
        return fmt::format("a bound of a product of {} is {}, the product {}", type, bounds[r],
                           all[r]);
      }
    }
    return "";
  }

  void pack(Layout layout, std::byte* out) {
    Matrix packed = matrix_;
    packed.layout = layout;
    packed.data = out;
    for (int64_t row = 0; row < kRows; row += kRowsAPanel) {
      const int64_t rows = std::min(kRowsAPanel, kRows - row);
      if (layout == Layout::kPanels) {
        pack_panel(matrix_.dtype, cols_, matrix_.row(row), rows, out + row * matrix_.row_bytes());
      } else {
        const SplitPlaces places = split_places(matrix_.dtype, kRows, cols_, row);
        pack_split_panel(matrix_.dtype, cols_, matrix_.row(row), rows, out + places.upper,
                         out + places.lower);
      }
    }
    layouts_.push_back(packed);
  }

  static bool is_start(const Numbers& part, const Numbers& all) {
    return std::memcmp(part.data(), all.data(), part.size() * sizeof(float)) == 0;
  }

  void multiply_plainly() {
    Numbers row(static_cast<size_t>(cols_));
    wanted_.resize(static_cast<size_t>(kTokens * kRows));
    terms_.resize(static_cast<size_t>(kRows));
    constexpr double kNumber = 74;  // the root of the mean square of whole numbers up to 127
    for (int64_t r = 0; r < kRows; ++r) {
      dequantize_row(matrix_, r, row.data());
      terms_[static_cast<size_t>(r)] = kNumber * std::sqrt(dot(row.data(), row.data()));
      for (int64_t t = 0; t < kTokens; ++t) {
        wanted_[static_cast<size_t>(t * kRows + r)] =
            static_cast<float>(dot(row.data(), x_.data() + t * cols_));
      }
    }
  }

  double dot(const float* a, const float* b) const {
    float sums[8] = {};
    for (int64_t c = 0; c < cols_; c += 8) {
      for (int64_t i = 0; i < 8; ++i) sums[i] += a[c + i] * b[c + i];
    }
    double sum = 0;
    for (const float part : sums) sum += static_cast<double>(part);
    return sum;
  }

  int64_t cols_;
  AlignedBytes file_, panels_, split_;
  const Numbers& x_;
  Matrix matrix_;
  std::vector<Matrix> layouts_;  // matrix_ in all that its type has
  Numbers wanted_;               // [kTokens, kRows]
  std::vector<double> terms_;    // [kRows] the root of the summed squares of a product's terms
};

bool is_close(const Numbers& found, const Numbers& wanted) {
  float largest = 0;
  for (const float number : wanted) largest = std::max(largest, std::fabs(number));
  const double most = kVectorError * static_cast<double>(largest);
  return std::ranges::equal(found, wanted, [&](float a, float b) {
    return std::fabs(static_cast<double>(a) - static_cast<double>(b)) <= most;
  });
}

// What each function of vectors gives, one after the other.
struct VectorResult {
  std::string_view function;
  Numbers numbers;
};
std::vector<VectorResult> vector_results(const Kernels& kernels) {
  constexpr int64_t kCount = 77;
  Rng rng(2);
  const Numbers x = small_numbers(kCount, rng), y = small_numbers(kCount, rng);
  std::vector<VectorResult> results;
  const auto with = [&](std::string_view function, auto&& apply) {
    Numbers out = x;
    apply(out.data());
    results.push_back({function, std::move(out)});
  };
  with("rms_norm", [&](float* out) { kernels.rms_norm(out, y.data(), 1e-5f, kCount, out); });
  with("layer_norm",
       [&](float* out) { kernels.layer_norm(out, y.data(), x.data(), 1e-5f, kCount, out); });
  with("erf gelu", [&](float* out) { kernels.gelu(out, kCount, out); });
  with("add", [&](float* out) { kernels.add(out, y.data(), kCount); });
  with("silu", [&](float* out) { kernels.silu_multiply(out, y.data(), kCount, out); });
  with("gelu", [&](float* out) { kernels.gelu_multiply(out, y.data(), kCount, out); });
  for (const bool interleaved : {false, true}) {
    with("rotate",
         [&](float* out) { kernels.rotate(out, y.data(), y.data() + 36, 36, interleaved); });
  }
  with("to_f16", [&](float* out) {
    std::array<uint16_t, kCount> halves{};
    kernels.to_f16(x.data(), kCount, halves.data());
    for (size_t i = 0; i < halves.size(); ++i) out[i] = f16_to_f32(halves[i]);
  });
  return results;
}

// Two tokens of three heads, over 45 positions in two blocks: what each row sees, weighed, and the
// logarithm of its weights.
Numbers attention_result(const Kernels& kernels) {
  constexpr int64_t kHeads = 3, kSize = 40, kEnd = 45, kRowsSeen = 2 * kHeads;
  constexpr int64_t kColumns = attend_columns_of(kSize);
  constexpr int64_t kBlock = kKvBlockTokens * (kSize + kColumns);
  Rng rng(3);
  std::vector<uint16_t> cache(static_cast<size_t>(2 * kBlock));
  for (uint16_t& half : cache) half = f32_to_f16(static_cast<float>(2 * rng.uniform() - 1));
  const std::array blocks{reinterpret_cast<const std::byte*>(cache.data()),
                          reinterpret_cast<const std::byte*>(cache.data() + kBlock)};
  const Numbers query = small_numbers(kRowsSeen * kSize, rng);
  Numbers sums(static_cast<size_t>(kRowsSeen * kColumns)), largest(kRowsSeen), total(kRowsSeen);
  kernels.attend({.query = query.data(),
                  .query_stride = kHeads * kSize,
                  .tokens = 2,
                  .heads = kHeads,
                  .head_size = kSize,
                  .blocks = blocks.data(),
                  .value_offset = kKvBlockTokens * kSize * 2,
                  .position = kEnd - 2,
                  .window = 40,
                  .end = kEnd,
                  .scale = 0.2f,
                  .softcap = 3,
                  .out = sums.data(),
                  .largest = largest.data(),
                  .total = total.data()});
  Numbers out;
  for (size_t row = 0; row < kRowsSeen; ++row) {
    for (size_t i = 0; i < kSize; ++i) out.push_back(sums[row * kColumns + i] / total[row]);
    out.push_back(largest[row] + std::log(total[row]));
  }
  return out;
}

}  // namespace

std::string find_fault(const Kernels& kernels) {
  const std::vector<VectorResult> found = vector_results(kernels);
  const std::vector<VectorResult> wanted = vector_results(kReferenceKernels);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!is_close(found[i].numbers, wanted[i].numbers)) {
      return fmt::format("its {} is not that of the reference", wanted[i].function);
    }
  }
  if (!is_close(attention_result(kernels), attention_result(kReferenceKernels))) {
    return "its attention is not that of the reference";
  }
  Rng rng(1);
  const Numbers x = whole_numbers(kTokens * kColumnsMost, rng);
  for (const DTypeInfo& info : kDTypes) {
    if (std::string fault = ProductProof(info, x, rng).find_fault(kernels); !fault.empty()) {
      return fault;
    }
  }
  return "";
}

ProvenSets::ProvenSets(std::span<const SetRow> rows, const CpuBits& bits) {
  for (const SetRow& row : rows) {
    if (row.supported(bits)) entries_.push_back({&row, false, ""});
  }
  entries_.back().asked = true;
}

bool ProvenSets::is_right(Entry& entry) {
  if (!entry.asked) {
    entry.asked = true;
    if (entry.row->prepare) entry.fault = entry.row->prepare();
    if (entry.fault.empty()) entry.fault = find_fault(*entry.row->kernels);
  }
  return entry.fault.empty();
}

Result<const Kernels*> ProvenSets::choose(std::string_view isa) {
  std::string names;
  {
    const std::lock_guard lock(mutex_);
    for (Entry& entry : entries_) {
      const Kernels* kernels = entry.row->kernels;
      if (!isa.empty() && kernels->isa != isa) continue;
      if (is_right(entry)) return kernels;
      if (isa.empty()) continue;
      return Error{Code::kUnsupported,
                   fmt::format("the {} kernels cannot be used here: {}", isa, entry.fault)};
    }
  }
  for (const Kernels* set : available())
    names += (names.empty() ? "" : ", ") + std::string(set->isa);
  return Error{
      Code::kNotFound,
      fmt::format("found no kernel set '{}' on this machine, wanted one of: {}", isa, names)};
}

std::vector<const Kernels*> ProvenSets::available() {
  const std::lock_guard lock(mutex_);
  std::vector<const Kernels*> sets;
  for (Entry& entry : entries_) {
    if (is_right(entry)) sets.push_back(entry.row->kernels);
  }
  return sets;
}

std::vector<RefusedKernels> ProvenSets::refused() {
  const std::lock_guard lock(mutex_);
  std::vector<RefusedKernels> sets;
  for (const Entry& entry : entries_) {
    if (!entry.fault.empty()) sets.push_back({entry.row->kernels->isa, entry.fault});
  }
  return sets;
}

}  // namespace ration
