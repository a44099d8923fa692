// tensor/kernel/deep_code.h - products with both sides int8 and one scale a 256 columns each: for
// prompts.
//
// Source: AMX and VNNI work best on long int32 sums, and block formats change their scale every 16
// or 32 columns. Requantising a panel once a call is ours.
// Computes: kGroups * kLanes rows and some columns are unpacked and rounded to int8, once for all
// tokens; then, for a (row, token) pair and 256 columns after 256, an exact integer sum, one
// product of scales, one fused multiply-add, and the same for each of the two columns that stand
// apart (Dettmers et al. 2022, "LLM.int8()", sec. 3, has outliers by column of all tokens; these
// are each token's own). That is the same for one token and for five hundred.
// Departs: a weight w = slope * q + base, q the stored quant, becomes the high byte of the 16-bit
// q * a + b, so that no weight is ever a float.
// Costs: half a step of 1/127 of the row's largest weight in 256 columns; rounding once a call,
// eight instructions for 64 weights.
// Proved: test/tensor/deep_test.cpp; the quality by test/gate/model_gate_test.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/kernel/activation.h"
#include "tensor/kernel/set_code.h"

namespace ration {
namespace {

// Tokens that share a requantised panel.
constexpr int64_t kDeepTokens = 512;

// 256 columns of kLanes rows, or as many as are left: weight = scale * (quant - kRaise)
template <class L>
struct DeepGroup {
  typename L::I quads[64];  // columns 4 j .. 4 j + 3
  typename L::F scale;
};

// The same as it is stored: weight = slope * quant + base, for each subgroup of columns.
template <class L>
struct DeepSource {
  typename L::I quads[64];
  typename L::F slopes[16];
  typename L::F bases[16];
};

// Columns [block * 256, ...) of a type with 32 columns a block; returns how many subgroups.
template <class L, class Type>
struct DeepFrom32 {
  static constexpr int kSubgroupQuads = 8;
  template <class Rows>
  static int unpack(const Rows& rows, int64_t cols, int64_t block, DeepSource<L>& source) {
    constexpr int kOffset = Type::kOffset + (Type::kBits == 8 ? L::kSignedOffset : 0);
    const int64_t first = block * 8;
    const int64_t rest = cols / 32 - first;
    const int count = rest < 8 ? static_cast<int>(rest) : 8;
    for (int g = 0; g < count; ++g) {
      Group32<L> group;
      Type::template unpack<L>(rows, (first + g) * Type::kBytes, group);
      for (int j = 0; j < 8; ++j) source.quads[8 * g + j] = group.quads[j];
      source.slopes[g] = group.scale;
      if constexpr (Type::kMin) {
        source.bases[g] = group.min;
      } else {
        source.bases[g] = L::mul(group.scale, L::set(-kOffset));
      }
    }
    return count;
  }
};

// The same for a type with 256 columns a block.
template <class L, class Type>
struct DeepFrom256 {
  static constexpr int kSubgroupQuads = Type::kSubgroup / 4;
  template <class Rows>
  static int unpack(const Rows& rows, int64_t /*cols*/, int64_t block, DeepSource<L>& source) {
    constexpr int kCount = 256 / Type::kSubgroup;
    constexpr int kOffset = Type::kBits == 8 ? L::kSignedOffset
                            : Type::kMin     ? 0
                                             : 1 << Type::kShift;
    Group256<L> group;
    Product256<L, Type>::unpack(rows, block, group);
    for (int j = 0; j < 64; ++j) source.quads[j] = group.quads[j];
    for (int g = 0; g < kCount; ++g) {
      source.slopes[g] = L::mul(group.scale, L::to_float(group.scales[g]));
      if constexpr (Type::kMin) {
        const typename L::I pair = group.pairs[g / 2];
        const typename L::I mine = g % 2 == 0 ? L::template shift_left<16>(pair) : pair;
        const typename L::F m = L::to_float(L::template shift_right_signed<16>(mine));
        source.bases[g] = L::fnma(group.min, m, L::zero());
      } else {
        source.bases[g] = L::mul(source.slopes[g], L::set(-kOffset));
      }
    }
    return kCount;
  }
};

// Rounds to the scale that the largest weight these quants could stand for takes to 127.
template <class L, class From, int kBits, int kRaise>
[[gnu::noinline]] void requantize(const DeepSource<L>& source, int subgroups, DeepGroup<L>& out) {
  using I = typename L::I;
  using F = typename L::F;
  constexpr int kQuads = From::kSubgroupQuads;
  constexpr int kTop = (1 << kBits) - 1;
  constexpr int kMiddle = 1 << (kBits - 1);
  F largest = L::zero();
  for (int g = 0; g < subgroups; ++g) {
    const F top = L::fma(source.slopes[g], L::set(kTop), source.bases[g]);
    largest = L::max(largest, L::max(L::abs(source.bases[g]), L::abs(top)));
  }
  out.scale = L::mul(largest, L::set(1.0f / 127));
  // Rows of zeros, and of numbers that no product shows, are zero.
  const F factor =
      L::choose_below(largest, 0x1p-100f, L::zero(), L::div(L::set(127 * 256.0f), largest));
  const I low_half = L::set32(0xffff), low_bytes = L::set32(0x00ff00ff);
  const I high_bytes = L::set32(static_cast<int32_t>(0xff00ff00));
  const auto both_halves = [&](I a) {
    return L::bit_or(L::bit_and(a, low_half), L::template shift_left<16>(a));
  };
#pragma clang loop unroll(disable)
  for (int g = 0; g < subgroups; ++g) {
    // Exact in the middle, so that what `slope` is rounded by counts for half the quants only.
    const F middle = L::fma(source.slopes[g], L::set(kMiddle), source.bases[g]);
    const I step = L::to_int(L::mul(source.slopes[g], factor));
    const I start =
        L::sub32(L::to_int(L::mul(middle, factor)), L::template shift_left<kBits - 1>(step));
    const I slope = both_halves(step);
    const I base = both_halves(L::add32(start, L::set32(128 + 256 * kRaise)));
    for (int j = g * kQuads; j < (g + 1) * kQuads; ++j) {
      const I evens = L::bit_and(source.quads[j], low_bytes);
      const I odds = L::template shift_right16<8>(source.quads[j]);
      const I even = L::add16(L::mul16(evens, slope), base);
      const I odd = L::add16(L::mul16(odds, slope), base);
      out.quads[j] = L::bit_or(L::template shift_right16<8>(even), L::bit_and(odd, high_bytes));
    }
  }
}

// The requantised panel of some blocks: panel[b * kGroups + r].
template <class L, class From, class Type, int kRaise>
void fill_deep_panel(const Job& job, int64_t row, int64_t first_block, int64_t blocks,
                     DeepGroup<L>* panel) {
  DeepSource<L> source;
  for (int r = 0; r < L::kGroups; ++r) {
    const int64_t first = row + r * L::kLanes;
    for (int64_t b = 0; b < blocks; ++b) {
      DeepGroup<L>& group = panel[b * L::kGroups + r];
      if (first >= job.row_end) {
        group = {};  // multiplied like the others, then dropped
        continue;
      }
      const int subgroups =
          job.panels
              ? From::unpack(PanelRows<L, Type>(job, first), job.cols, first_block + b, source)
              : From::unpack(FileRows<L>(job, first), job.cols, first_block + b, source);
      requantize<L, From, Type::kBits, kRaise>(source, subgroups, group);
    }
  }
}

// Every panel times every token. Tile: how, see VnniTile.
template <class L, class From, class Type, class Tile>
void multiply_deep(const Job& job) {
  constexpr int64_t kPanel = L::kGroups * L::kLanes;
  DeepGroup<L> panel[Tile::kBlocks * L::kGroups];
  const int64_t blocks = (job.cols + kDeepColumns - 1) / kDeepColumns;
  for (int64_t token = 0; token < job.tokens; token += kDeepTokens) {
    const int64_t token_end = token + kDeepTokens < job.tokens ? token + kDeepTokens : job.tokens;
    for (int64_t top = job.row_begin; top < job.row_end; top += kPanelRows) {
      const int64_t bottom = top + kPanelRows < job.row_end ? top + kPanelRows : job.row_end;
      for (int64_t b = 0; b < blocks; b += Tile::kBlocks) {
        const int64_t count = b + Tile::kBlocks < blocks ? Tile::kBlocks : blocks - b;
        for (int64_t row = top; row < bottom; row += kPanel) {
          fill_deep_panel<L, From, Type, Tile::kRaise>(job, row, b, count, panel);
          Tile::multiply(job, panel, b, count, row, token, token_end);
        }
      }
    }
  }
}

// The columns of a block that stand apart, one after the other: sum += scale * number * quant.
// apart: the token's, of this block.
template <class L, int kRaise>
typename L::F add_apart(const DeepGroup<L>& group, const std::byte* apart, typename L::F sum) {
  static_assert(kRaise == 0 || kRaise == 128);
  for (int64_t i = 0; i < kDeepApart; ++i) {
    const std::byte* p = apart + i * static_cast<int64_t>(sizeof(DeepApart));
    int32_t quad;
    __builtin_memcpy(&quad, p + offsetof(DeepApart, quad), sizeof quad);
    // One byte of four, as a product of an unsigned and a signed side.
    const typename L::I pick = L::broadcast32(p + offsetof(DeepApart, pick));
    const typename L::I quants = group.quads[quad];
    const typename L::I quant = L::template add_product<8>(
        L::set32(-kRaise), kRaise == 0 ? pick : quants, kRaise == 0 ? quants : pick);
    const typename L::F number = L::broadcast_float(p + offsetof(DeepApart, number));
    sum = L::fma(L::to_float(quant), L::mul(group.scale, number), sum);
  }
  return sum;
}

// Products of unsigned weights and signed activations, accumulated in registers.
template <class L>
struct VnniTile {
  static constexpr int kRaise = 128;
  static constexpr int64_t kBlocks = 2;  // of columns in a panel: 16 KiB

  static void multiply(const Job& job, const DeepGroup<L>* panel, int64_t first_block,
                       int64_t blocks, int64_t row, int64_t token, int64_t token_end) {
    constexpr int kTokens = L::kTokens;
    for (; token + kTokens <= token_end; token += kTokens) {
      multiply_tokens<kTokens>(job, panel, first_block, blocks, row, token);
    }
    for (; token + kTokens / 2 <= token_end; token += kTokens / 2) {
      multiply_tokens<kTokens / 2>(job, panel, first_block, blocks, row, token);
    }
    for (; token < token_end; ++token) {
      multiply_tokens<1>(job, panel, first_block, blocks, row, token);
    }
  }

  template <int kTokens>
  [[gnu::noinline]] static void multiply_tokens(const Job& job, const DeepGroup<L>* panel,
                                                int64_t first_block, int64_t blocks, int64_t row,
                                                int64_t token) {
    using I = typename L::I;
    using F = typename L::F;
    constexpr int kGroups = L::kGroups;
    F sums[kTokens][kGroups];
    for (int t = 0; t < kTokens; ++t) {
      for (int r = 0; r < kGroups; ++r) {
        sums[t][r] =
            first_block == 0 ? L::zero() : load_rows_so_far<L>(job, token + t, row + r * L::kLanes);
      }
    }
    const std::byte* x[kTokens];
    for (int t = 0; t < kTokens; ++t) x[t] = job.x + (token + t) * job.x_bytes;
    const int64_t scales = deep_scales_at(job.cols), offsets = deep_offsets_at(job.cols);
    for (int64_t b = first_block; b < first_block + blocks; ++b) {
      const DeepGroup<L>* groups = panel + (b - first_block) * kGroups;
      const int64_t rest = (job.cols - b * kDeepColumns) / 4;
      const int64_t quads = rest < 64 ? rest : 64;
      I dots[kTokens][kGroups];
      for (int t = 0; t < kTokens; ++t) {
        for (int r = 0; r < kGroups; ++r) dots[t][r] = L::broadcast32(x[t] + offsets + 4 * b);
      }
#pragma clang loop unroll_count(2)
      for (int64_t j = 0; j < quads; ++j) {
        for (int t = 0; t < kTokens; ++t) {
          const I numbers = L::broadcast32(x[t] + b * kDeepColumns + 4 * j);
          for (int r = 0; r < kGroups; ++r) {
            dots[t][r] = L::template add_product<8>(dots[t][r], groups[r].quads[j], numbers);
          }
        }
      }
      for (int t = 0; t < kTokens; ++t) {
        const F x_scale = L::broadcast_float(x[t] + scales + 4 * b);
        const std::byte* x_apart = x[t] + deep_apart_at(job.cols) + kDeepApartBytes * b;
        for (int r = 0; r < kGroups; ++r) {
          const F dot = L::to_float(dots[t][r]);
          sums[t][r] = L::fma(dot, L::mul(groups[r].scale, x_scale), sums[t][r]);
          sums[t][r] = add_apart<L, kRaise>(groups[r], x_apart, sums[t][r]);
        }
      }
    }
    for (int t = 0; t < kTokens; ++t) {
      for (int r = 0; r < kGroups; ++r) {
        store_rows<L>(job, token + t, row + r * L::kLanes, sums[t][r]);
      }
    }
  }
};

template <class L, class Type, class Tile>
constexpr Path deep_path32(DType dtype) {
  return {dtype, ActivationFormat::kInt8Deep, 32, Type::kBytes,
          multiply_deep<L, DeepFrom32<L, Type>, Type, Tile>};
}

template <class L, class Type, class Tile>
constexpr Path deep_path256(DType dtype) {
  return {dtype, ActivationFormat::kInt8Deep, 256, Type::kBytes,
          multiply_deep<L, DeepFrom256<L, Type>, Type, Tile>};
}

// Every quantised type.
template <class L, class Tile>
constexpr Path kDeepPaths[] = {deep_path32<L, TypeQ4_0, Tile>(DType::kQ4_0),
                               deep_path32<L, TypeQ4_1, Tile>(DType::kQ4_1),
                               deep_path32<L, TypeQ5_0, Tile>(DType::kQ5_0),
                               deep_path32<L, TypeQ5_1, Tile>(DType::kQ5_1),
                               deep_path32<L, TypeQ8_0, Tile>(DType::kQ8_0),
                               deep_path32<L, TypeIQ4_NL, Tile>(DType::kIQ4_NL),
                               deep_path32<L, TypeMXFP4, Tile>(DType::kMXFP4),
                               deep_path256<L, TypeQ2_K, Tile>(DType::kQ2_K),
                               deep_path256<L, TypeQ3_K, Tile>(DType::kQ3_K),
                               deep_path256<L, TypeQ4_K, Tile>(DType::kQ4_K),
                               deep_path256<L, TypeQ5_K, Tile>(DType::kQ5_K),
                               deep_path256<L, TypeQ6_K, Tile>(DType::kQ6_K),
                               deep_path256<L, TypeIQ4_XS, Tile>(DType::kIQ4_XS)};

template <class L, class Tile>
void matmul_deep(const Matrix& w, const Activations& x, int64_t row_begin, int64_t row_end,
                 float* out, int64_t out_stride) {
  constexpr int kFloatTypes = 3;
  static_assert(std::size(kDeepPaths<L, Tile>) + kFloatTypes == kDTypes.size());
  const Path* path = kDeepPaths<L, Tile>;
  while (path->dtype != w.dtype) ++path;  // a quantised DType is one of them
  path->multiply(job_of(*path, w, x, row_begin, row_end, out, out_stride));
}

}  // namespace
}  // namespace ration
