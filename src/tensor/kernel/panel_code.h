// tensor/kernel/panel_code.h - products of quantised weights and int8 activations, for every set.
//
// kLanes rows at a time, a lane a row. One token or a few: each group of rows is unpacked into
// registers or a small buffer, used and forgotten. Many tokens: a panel of kGroups * kLanes rows
// and some columns is unpacked once, then multiplied by all tokens, tile by tile.
//
// The rule of roles holds because every path does, for a (row, token) pair and block after block,
// the same three things: an exact integer sum, one product of scales, one fused multiply-add.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tensor/kernel/activation.h"
#include "tensor/kernel/block256_code.h"
#include "tensor/kernel/block32_code.h"
#include "tensor/kernel/job.h"
#include "tensor/kernel/rows_code.h"

namespace ration {
namespace {

// Tokens that share an unpacked panel, and rows that share the activations of a range of columns.
constexpr int64_t kPanelTokens = 128;
constexpr int64_t kPanelRows = 128;

// Up to this many tokens a panel is cheaper unpacked for every four of them than written out once.
constexpr int64_t kStreamTokens = 8;

// sums[t][r] = quads[first .. first + kSteps) of groups[r] . x[t], in the running form of
// L::product(). With many sums this stays a loop: unrolled, the compiler orders it token by token
// and spills.
template <class L, int kBits, int kSteps, class Group, int kTokens, int kGroups>
void add_quads(const Group* groups, const std::byte* const* x, int64_t at, int first,
               typename L::I (&sums)[kTokens][kGroups]) {
  using I = typename L::I;
  for (int t = 0; t < kTokens; ++t) {
    const I numbers = L::broadcast32(x[t] + at + 4 * first);
    for (int r = 0; r < kGroups; ++r) {
      sums[t][r] = L::template product<kBits>(groups[r].quads[first], numbers);
    }
  }
  const auto step = [&](int j) {
    for (int t = 0; t < kTokens; ++t) {
      const I numbers = L::broadcast32(x[t] + at + 4 * j);
      for (int r = 0; r < kGroups; ++r) {
        sums[t][r] = L::template add_product<kBits>(sums[t][r], groups[r].quads[j], numbers);
      }
    }
  };
  if constexpr (kTokens * kGroups == 1) {
    for (int j = first + 1; j < first + kSteps; ++j) step(j);
  } else {
#pragma clang loop unroll(disable)
    for (int j = first + 1; j < first + kSteps; ++j) step(j);
  }
}

// 32 columns a block.
template <class L, class Type>
struct Product32 {
  using I = typename L::I;
  using F = typename L::F;
  using Group = Group32<L>;
  static constexpr int64_t kColumns = 32;
  static constexpr int kOffset = Type::kBits == 8 ? L::kSignedOffset : Type::kOffset;
  static constexpr int kShift = kOffset == 0 ? 0 : __builtin_ctz(kOffset);
  static_assert(kOffset == 0 || kOffset == 1 << kShift);

  template <class Rows>
  static void unpack(const Rows& rows, int64_t block, Group& group) {
    Type::template unpack<L>(rows, block * Type::kBytes, group);
  }

  // As add() for one group that is not kept.
  template <int kTokens, class Rows>
  static void stream(const Rows& rows, const std::byte* const* x, int64_t cols, int64_t block,
                     F (&sums)[kTokens][1]) {
    Group group;
    unpack(rows, block, group);
    add<1, kTokens>(&group, x, cols, block, sums);
  }

  // sums[t][r] += groups[r] . block `block` of x[t]
  template <int kGroups, int kTokens>
  static void add(const Group* groups, const std::byte* const* x, int64_t cols, int64_t block,
                  F (&sums)[kTokens][kGroups]) {
    I dots[kTokens][kGroups];
    integer_dots<kGroups, kTokens>(groups, x, block * 32, dots);
    const int64_t scales = int8x32_scales_at(cols) + block * 4;
    const int64_t scaled_sums = int8x32_scaled_sums_at(cols) + block * 4;
    const int64_t quant_sums = int8x32_sums_at(cols) + block * 4;
    for (int t = 0; t < kTokens; ++t) {
      const F x_scale = L::broadcast_float(x[t] + scales);
      for (int r = 0; r < kGroups; ++r) {
        I dot = dots[t][r];
        if constexpr (kOffset != 0) {
          const I quant_sum = L::broadcast32(x[t] + quant_sums);
          dot = L::sub32(dot, L::template shift_left<kShift>(quant_sum));
        }
        sums[t][r] = L::fma(L::to_float(dot), L::mul(groups[r].scale, x_scale), sums[t][r]);
        if constexpr (Type::kMin) {
          const F x_sum = L::broadcast_float(x[t] + scaled_sums);
          sums[t][r] = L::fma(groups[r].min, x_sum, sums[t][r]);
        }
      }
    }
  }

  template <int kGroups, int kTokens>
  static void integer_dots(const Group* groups, const std::byte* const* x, int64_t at,
                           I (&dots)[kTokens][kGroups]) {
    constexpr int kSteps = L::template kSteps<Type::kBits>;
    for (int first = 0; first < 8; first += kSteps) {
      I part[kTokens][kGroups];
      add_quads<L, Type::kBits, kSteps>(groups, x, at, first, part);
      for (int t = 0; t < kTokens; ++t) {
        for (int r = 0; r < kGroups; ++r) {
          const I wide = L::widen(part[t][r]);
          dots[t][r] = first == 0 ? wide : L::add32(dots[t][r], wide);
        }
      }
    }
  }
};

// 256 columns a block, integer scales a subgroup.
template <class L, class Type>
struct Product256 {
  using I = typename L::I;
  using F = typename L::F;
  using Group = Group256<L>;
  static constexpr int64_t kColumns = 256;
  static constexpr int kQuads = Type::kSubgroup / 4;  // a subgroup
  static constexpr int kMostSteps = L::template kSteps<Type::kBits>;
  static constexpr int kSteps = kMostSteps < kQuads ? kMostSteps : kQuads;
  static constexpr int kPairs = 128 / Type::kSubgroup;
  static constexpr int kOffset = Type::kBits == 8 ? L::kSignedOffset : 1 << Type::kShift;
  static constexpr int kShift = kOffset <= 1 ? 0 : __builtin_ctz(kOffset);
  static constexpr bool kNeedsPairs = Type::kMin || kShift != 0;

  template <class Rows>
  static void unpack(const Rows& rows, int64_t block, Group& group) {
    const int64_t at = block * Type::kBytes;
    Type::template header<L>(rows, at, group);
#pragma clang loop unroll(disable)
    for (int piece = 0; piece < Type::kPieces; ++piece) {
      I* quads = group.quads + Type::first_subgroup(piece) * kQuads;
      Type::template piece<L>(rows, at, piece, [&](int slot, int step, I weights) {
        quads[slot * Type::kApart * kQuads + step] = weights;
      });
    }
  }

  // As add() for one group that is not kept: its quads never leave the registers.
  template <int kTokens, class Rows>
  static void stream(const Rows& rows, const std::byte* const* x, int64_t cols, int64_t block,
                     F (&sums)[kTokens][1]) {
    const int64_t at = block * Type::kBytes;
    Group group;  // all but the quads
    Type::template header<L>(rows, at, group);
    I dots[kTokens][1];
    for (int t = 0; t < kTokens; ++t) dots[t][0] = L::set32(0);
#pragma clang loop unroll(disable)
    for (int piece = 0; piece < Type::kPieces; ++piece) {
      const int subgroup = Type::first_subgroup(piece);
      const int64_t first = block * 256 + subgroup * Type::kSubgroup;
      I parts[kTokens][Type::kSlots];
      Type::template piece<L>(rows, at, piece, [&](int slot, int step, I weights) {
        const int64_t column = slot * Type::kApart * Type::kSubgroup + 4 * step;
        for (int t = 0; t < kTokens; ++t) {
          const I numbers = L::broadcast32(x[t] + first + column);
          I& part = parts[t][slot];
          part = step % kSteps == 0 ? L::template product<Type::kBits>(weights, numbers)
                                    : L::template add_product<Type::kBits>(part, weights, numbers);
          if (step % kSteps != kSteps - 1) continue;
          const I scale = group.scales[subgroup + slot * Type::kApart];
          dots[t][0] = L::add32(dots[t][0], L::widen_scaled(part, scale));
        }
      });
    }
    finish<1, kTokens>(&group, x, cols, block, dots, sums);
  }

  template <int kGroups, int kTokens>
  static void add(const Group* groups, const std::byte* const* x, int64_t cols, int64_t block,
                  F (&sums)[kTokens][kGroups]) {
    I dots[kTokens][kGroups];
    for (int g = 0; g < 2 * kPairs; ++g) {
      add_subgroup<kGroups, kTokens>(groups, x, block * 256, g, dots);
    }
    finish<kGroups, kTokens>(groups, x, cols, block, dots, sums);
  }

  // sums[t][r] += scales * dots[t][r], the offset or the minima taken off
  template <int kGroups, int kTokens>
  static void finish(const Group* groups, const std::byte* const* x, int64_t cols, int64_t block,
                     const I (&dots)[kTokens][kGroups], F (&sums)[kTokens][kGroups]) {
    const int64_t scales = int8x256_scales_at(cols) + block * 4;
    const int64_t subgroup_sums = Type::kSubgroup == 32 ? int8x256_sums32_at(cols) + block * 16
                                                        : int8x256_sums16_at(cols) + block * 32;
    for (int t = 0; t < kTokens; ++t) {
      const F x_scale = L::broadcast_float(x[t] + scales);
      for (int r = 0; r < kGroups; ++r) {
        I offsets = L::set32(0);
        for (int p = 0; kNeedsPairs && p < kPairs; ++p) {
          const I pair = L::broadcast32(x[t] + subgroup_sums + 4 * p);
          offsets = L::add_pairs(offsets, groups[r].pairs[p], pair);
        }
        I dot = dots[t][r];
        if constexpr (kShift != 0) {
          dot = L::sub32(dot, L::template shift_left<kShift>(offsets));
        }
        sums[t][r] = L::fma(L::to_float(dot), L::mul(groups[r].scale, x_scale), sums[t][r]);
        if constexpr (Type::kMin) {
          sums[t][r] = L::fnma(L::to_float(offsets), L::mul(groups[r].min, x_scale), sums[t][r]);
        }
      }
    }
  }

  // dots[t][r] (+)= scale of subgroup g * (its quants . x[t])
  template <int kGroups, int kTokens>
  static void add_subgroup(const Group* groups, const std::byte* const* x, int64_t at, int g,
                           I (&dots)[kTokens][kGroups]) {
    for (int first = g * kQuads; first < (g + 1) * kQuads; first += kSteps) {
      I part[kTokens][kGroups];
      add_quads<L, Type::kBits, kSteps>(groups, x, at, first, part);
      for (int t = 0; t < kTokens; ++t) {
        for (int r = 0; r < kGroups; ++r) {
          const I wide = L::widen_scaled(part[t][r], groups[r].scales[g]);
          dots[t][r] = first == 0 ? wide : L::add32(dots[t][r], wide);
        }
      }
    }
  }
};

// Stores kLanes rows' results, or as many as there are rows.
template <class L>
void store_rows(const Job& job, int64_t token, int64_t row, typename L::F sums) {
  float* out = job.out + token * job.out_stride + row;
  const int64_t rows = job.row_end - row;
  if (rows >= L::kLanes) {
    L::store(out, sums);
  } else if (rows > 0) {
    L::store_some(out, rows, sums);
  }
}

template <class L>
typename L::F load_rows_so_far(const Job& job, int64_t token, int64_t row) {
  const float* out = job.out + token * job.out_stride + row;
  const int64_t rows = job.row_end - row;
  if (rows >= L::kLanes) return L::load(out);
  return rows > 0 ? L::load_some(out, rows) : L::zero();
}

// kTokens tokens from `token` on, every row: weights are unpacked, used at once and forgotten.
template <class L, class Product, class Type, int kTokens>
[[gnu::noinline]] void stream_file(const Job& job, int64_t token) {
  const std::byte* x[kTokens];
  for (int t = 0; t < kTokens; ++t) x[t] = job.x + (token + t) * job.x_bytes;
  const int64_t blocks = job.cols / Product::kColumns;
  for (int64_t row = job.row_begin; row < job.row_end; row += L::kLanes) {
    const FileRows<L> rows(job, row);
    typename L::F sums[kTokens][1];
    for (int t = 0; t < kTokens; ++t) sums[t][0] = L::zero();
    // The next group's bytes lie in one run: fetched in order while this group is worked on.
    const uint8_t* ahead = job.weights + (row + L::kLanes) * job.row_bytes;
    for (int64_t b = 0; b < blocks; ++b) {
      for (int line = 0; line < L::kLanes * Type::kBytes; line += 64) {
        __builtin_prefetch(ahead + b * L::kLanes * Type::kBytes + line, 0, 2);
      }
      Product::template stream<kTokens>(rows, x, job.cols, b, sums);
    }
    for (int t = 0; t < kTokens; ++t) store_rows<L>(job, token + t, row, sums[t][0]);
  }
}

// The same for the rows of kPanels panels, each read from front to back, side by side.
template <class L, class Product, class Rows, int kTokens, int kPanels = 1>
[[gnu::noinline]] void stream_panel(const Job& job, int64_t row, int64_t token) {
  constexpr int kPartsAPanel = kRowsAPanel / L::kLanes;
  constexpr int kParts = kPanels * kPartsAPanel;
  const std::byte* x[kTokens];
  for (int t = 0; t < kTokens; ++t) x[t] = job.x + (token + t) * job.x_bytes;
  const int64_t blocks = job.cols / Product::kColumns;
  const Rows first(job, row);
  typename L::F sums[kParts][kTokens][1];
  for (int p = 0; p < kParts; ++p) {
    for (int t = 0; t < kTokens; ++t) sums[p][t][0] = L::zero();
  }
  for (int64_t b = 0; b < blocks; ++b) {
#pragma clang loop unroll(disable)
    for (int p = 0; p < kParts; ++p) {
      const Rows panel = p < kPartsAPanel ? first : Rows(job, row + p / kPartsAPanel * kRowsAPanel);
      Product::template stream<kTokens>(panel.lanes_from(p % kPartsAPanel * L::kLanes), x, job.cols,
                                        b, sums[p]);
    }
  }
  for (int p = 0; p < kParts; ++p) {
    for (int t = 0; t < kTokens; ++t) {
      store_rows<L>(job, token + t, row + p * L::kLanes, sums[p][t][0]);
    }
  }
}

// call(constant, token) for the tokens in fours, and then for the rest.
template <class Call>
void in_fours(int64_t tokens, Call call) {
  int64_t token = 0;
  for (; token + 4 <= tokens; token += 4) call(std::integral_constant<int, 4>(), token);
  switch (tokens - token) {
    case 3:
      return call(std::integral_constant<int, 3>(), token);
    case 2:
      return call(std::integral_constant<int, 2>(), token);
    case 1:
      return call(std::integral_constant<int, 1>(), token);
  }
}

// All tokens, four at a time: after the first four the panel is in a near cache.
template <class L, class Product, class Rows>
void stream_panels(const Job& job) {
  int64_t row = job.row_begin;
  if constexpr (Product::kColumns == 32) {  // the others lose by it
    constexpr int64_t kRows = kWalkPanelsMost * kRowsAPanel;
    const bool side_by_side =
        job.tokens == 1 && job.walk.panels > 1 && kRowsAPanel * job.row_bytes >= kLongPanelBytes;
    for (; side_by_side && row + kRows <= job.row_end; row += kRows) {
      stream_panel<L, Product, Rows, 1, kWalkPanelsMost>(job, row, 0);
    }
  }
  for (; row < job.row_end; row += kRowsAPanel) {
    in_fours(job.tokens, [&](auto count, int64_t token) {
      stream_panel<L, Product, Rows, count>(job, row, token);
    });
  }
}

// One tile: an unpacked panel times kTokens tokens, added to what earlier columns gave.
template <class L, class Product, int kGroups, int kTokens>
[[gnu::noinline]] void multiply_tile(const Job& job, const typename Product::Group* panel,
                                     int64_t first_block, int64_t blocks, int64_t row,
                                     int64_t token) {
  const std::byte* x[kTokens];
  for (int t = 0; t < kTokens; ++t) x[t] = job.x + (token + t) * job.x_bytes;
  typename L::F sums[kTokens][kGroups];
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kGroups; ++r) {
      sums[t][r] =
          first_block == 0 ? L::zero() : load_rows_so_far<L>(job, token + t, row + r * L::kLanes);
    }
  }
  for (int64_t b = 0; b < blocks; ++b) {
    Product::template add<kGroups, kTokens>(panel + b * kGroups, x, job.cols, first_block + b,
                                            sums);
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int r = 0; r < kGroups; ++r) {
      store_rows<L>(job, token + t, row + r * L::kLanes, sums[t][r]);
    }
  }
}

// Every tile of one panel.
template <class L, class Product, class Type>
void multiply_panel(const Job& job, int64_t row, int64_t first_block, int64_t blocks, int64_t token,
                    int64_t token_end) {
  constexpr int kGroups = L::kGroups;
  constexpr int kTokens = L::kTokens;
  typename Product::Group panel[L::kPanelColumns / Product::kColumns * kGroups];
  const auto unpack = [&](const auto& rows, int r) {
    for (int64_t b = 0; b < blocks; ++b) {
      Product::unpack(rows, first_block + b, panel[b * kGroups + r]);
    }
  };
  for (int r = 0; r < kGroups; ++r) {
    const int64_t first = row + r * L::kLanes;
    if (!job.panels) {
      unpack(FileRows<L>(job, first), r);
    } else {  // past the end: the last panel once more, which nobody stores
      unpack(PanelRows<L, Type>(job, first < job.row_end ? first : row), r);
    }
  }
  for (; token + kTokens <= token_end; token += kTokens) {
    multiply_tile<L, Product, kGroups, kTokens>(job, panel, first_block, blocks, row, token);
  }
  for (; token + kTokens / 2 <= token_end; token += kTokens / 2) {
    multiply_tile<L, Product, kGroups, kTokens / 2>(job, panel, first_block, blocks, row, token);
  }
  for (; token < token_end; ++token) {
    multiply_tile<L, Product, kGroups, 1>(job, panel, first_block, blocks, row, token);
  }
}

template <class L, class Product, class Type>
void multiply_many(const Job& job) {
  const int64_t blocks = job.cols / Product::kColumns;
  const int64_t blocks_a_panel = L::kPanelColumns / Product::kColumns;
  for (int64_t token = 0; token < job.tokens; token += kPanelTokens) {
    const int64_t last = token + kPanelTokens;
    const int64_t token_end = last < job.tokens ? last : job.tokens;
    for (int64_t top = job.row_begin; top < job.row_end; top += kPanelRows) {
      const int64_t bottom = top + kPanelRows < job.row_end ? top + kPanelRows : job.row_end;
      for (int64_t b = 0; b < blocks; b += blocks_a_panel) {
        const int64_t count = b + blocks_a_panel < blocks ? blocks_a_panel : blocks - b;
        for (int64_t row = top; row < bottom; row += L::kGroups * L::kLanes) {
          multiply_panel<L, Product, Type>(job, row, b, count, token, token_end);
        }
      }
    }
  }
}

template <class L, class Product, class Type>
void multiply(const Job& job) {
  if (job.panels && job.tokens <= kStreamTokens) {
    return stream_panels<L, Product, PanelRows<L, Type>>(job);
  }
  switch (job.tokens) {
    case 0:
      return;
    case 1:
      return stream_file<L, Product, Type, 1>(job, 0);
    case 2:
      return stream_file<L, Product, Type, 2>(job, 0);
    default:
      return multiply_many<L, Product, Type>(job);
  }
}

template <class L, class Type>
void multiply32(const Job& job) {
  multiply<L, Product32<L, Type>, Type>(job);
}

template <class L, class Type>
void multiply256(const Job& job) {
  multiply<L, Product256<L, Type>, Type>(job);
}

// Split panels are always streamed: they have the logits of few tokens to give.
template <class L, class Type>
void multiply_split32(const Job& job) {
  stream_panels<L, Product32<L, Type>, SplitRows<L, Type>>(job);
}

template <class L, class Type>
void multiply_split256(const Job& job) {
  stream_panels<L, Product256<L, Type>, SplitRows<L, Type>>(job);
}

}  // namespace
}  // namespace ration
