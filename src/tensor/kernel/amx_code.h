// tensor/kernel/amx_code.h - deep products in AMX tiles.
//
// Sixteen quads of a DeepGroup (64 columns of 16 rows) lie in memory as one tile that TDPBSSD wants
// on its right; 64 columns of 16 tokens are one on its left. Two by two of them make 32 rows x 32
// tokens of int32 sums, kept in tiles over 256 columns and then stored to a buffer. While the tiles
// of the next 256 columns are multiplied, that buffer is scaled and added to F32 sums.
#pragma once

#include <cstdint>

#include "tensor/kernel/amx_tiles.h"
#include "tensor/kernel/deep_code.h"

namespace ration {
namespace {

inline constexpr int kTileRows = 16;  // and columns of int32

// Tiles 0 to 3: sums of (first, second sixteen tokens) x (first, second group of rows); 4 and 5:
// tokens; 6 and 7: weights. `second` tokens may be none; the second half is then not used.
inline TileConfig deep_tiles(int64_t first, int64_t second) {
  TileConfig config;
  const auto shape = [&](int tile, int64_t rows) {
    config.rows[tile] = static_cast<uint8_t>(rows);
    config.row_bytes[tile] = static_cast<uint16_t>(rows == 0 ? 0 : 64);
  };
  for (const int tile : {0, 1, 4}) shape(tile, first);
  for (const int tile : {2, 3, 5}) shape(tile, second);
  for (const int tile : {6, 7}) shape(tile, kTileRows);
  return config;
}

// Panels times tokens as VnniTile does it, with the same results.
template <class L>
struct AmxTile {
  static_assert(L::kLanes == kTileRows && L::kGroups == 2);
  static constexpr int kRaise = 0;
  static constexpr int64_t kBlocks = 4;  // of columns in a panel: 33 KiB

  using F = typename L::F;
  using I = typename L::I;

  // 32 tokens x 32 rows.
  struct Sums {
    F of[2 * kTileRows][2];
  };
  struct Dots {
    I of[4][kTileRows];  // by tile
  };

  // The call at hand, for up to 32 tokens.
  struct Work {
    const Job& job;
    const DeepGroup<L>* panel;
    int64_t first_block, blocks;
    int64_t row, token;
    int64_t tokens[2];  // of the first and the second sixteen

    const std::byte* x(int64_t t) const { return job.x + (token + t) * job.x_bytes; }
  };

  static void multiply(const Job& job, const DeepGroup<L>* panel, int64_t first_block,
                       int64_t blocks, int64_t row, int64_t token, int64_t token_end) {
    int64_t configured = 0;  // tokens
    for (; token < token_end; token += 2 * kTileRows) {
      const int64_t rest = token_end - token;
      const int64_t count = rest < 2 * kTileRows ? rest : 2 * kTileRows;
      const int64_t first = count < kTileRows ? count : kTileRows;
      if (count != configured) configure_tiles(deep_tiles(first, count - first));
      configured = count;
      const Work work{job, panel, first_block, blocks, row, token, {first, count - first}};
      if (count > kTileRows) {
        multiply_tokens<2>(work);
      } else {
        multiply_tokens<1>(work);
      }
    }
    release_tiles();
  }

  // kHalves: how many sixteens of tokens there are.
  template <int kHalves>
  [[gnu::noinline]] static void multiply_tokens(const Work& work) {
    Sums sums;
    Dots dots[2];
    load_sums(work, sums);
    for (int64_t b = 0; b < work.blocks; ++b) {
      const int64_t rest = work.job.cols - (work.first_block + b) * kDeepColumns;
      const int64_t steps = rest < kDeepColumns ? (rest + 63) / 64 : 4;
      zero_tile<0>();
      zero_tile<1>();
      if constexpr (kHalves == 2) {
        zero_tile<2>();
        zero_tile<3>();
      }
      for (int64_t step = 0; step < 4; ++step) {
        if (step < steps) multiply_step<kHalves>(work, b, step);
        if (b > 0 && step < 2 * kHalves) fold(work, b - 1, step, dots[(b - 1) % 2], sums);
      }
      store_dots<kHalves>(dots[b % 2]);
    }
    for (int64_t tile = 0; tile < 2 * kHalves; ++tile) {
      fold(work, work.blocks - 1, tile, dots[(work.blocks - 1) % 2], sums);
    }
    store_sums(work, sums);
  }

  // 64 columns: tiles 0 .. 3 += tokens x rows
  template <int kHalves>
  static void multiply_step(const Work& work, int64_t b, int64_t step) {
    const int64_t column = (work.first_block + b) * kDeepColumns + 64 * step;
    load_tile<6>(work.panel[2 * b].quads + kTileRows * step, 64);
    load_tile<7>(work.panel[2 * b + 1].quads + kTileRows * step, 64);
    load_tile<4>(work.x(0) + column, work.job.x_bytes);
    multiply_tiles<0, 4, 6>();
    multiply_tiles<1, 4, 7>();
    if constexpr (kHalves == 2) {
      load_tile<5>(work.x(kTileRows) + column, work.job.x_bytes);
      multiply_tiles<2, 5, 6>();
      multiply_tiles<3, 5, 7>();
    }
  }

  template <int kHalves>
  static void store_dots(Dots& dots) {
    store_tile<0>(dots.of[0], 64);
    store_tile<1>(dots.of[1], 64);
    if constexpr (kHalves == 2) {
      store_tile<2>(dots.of[2], 64);
      store_tile<3>(dots.of[3], 64);
    }
  }

  // sums += scales * the dots of one tile
  static void fold(const Work& work, int64_t b, int64_t tile, const Dots& dots, Sums& sums) {
    const int64_t half = tile / 2, group = tile % 2;
    const DeepGroup<L>& weights = work.panel[2 * b + group];
    const std::byte* x = work.x(half * kTileRows);
    const std::byte* x_scale = x + deep_scales_at(work.job.cols) + 4 * (work.first_block + b);
    const std::byte* x_apart =
        x + deep_apart_at(work.job.cols) + kDeepApartBytes * (work.first_block + b);
    for (int64_t t = 0; t < work.tokens[half]; ++t) {
      F& sum = sums.of[half * kTileRows + t][group];
      const F product = L::mul(weights.scale, L::broadcast_float(x_scale + t * work.job.x_bytes));
      sum = L::fma(L::to_float(dots.of[tile][t]), product, sum);
      sum = add_apart<L, kRaise>(weights, x_apart + t * work.job.x_bytes, sum);
    }
  }

  static void load_sums(const Work& work, Sums& sums) {
    for (int64_t t = 0; t < work.tokens[0] + work.tokens[1]; ++t) {
      for (int64_t r = 0; r < 2; ++r) {
        sums.of[t][r] = work.first_block == 0 ? L::zero()
                                              : load_rows_so_far<L>(work.job, work.token + t,
                                                                    work.row + r * kTileRows);
      }
    }
  }

  static void store_sums(const Work& work, const Sums& sums) {
    for (int64_t t = 0; t < work.tokens[0] + work.tokens[1]; ++t) {
      for (int64_t r = 0; r < 2; ++r) {
        store_rows<L>(work.job, work.token + t, work.row + r * kTileRows, sums.of[t][r]);
      }
    }
  }
};

}  // namespace
}  // namespace ration
