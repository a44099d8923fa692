// run/deal.h - how the rows of a product are dealt to the workers. Private to run/.
#pragma once

#include <cstdint>

#include "base/pool.h"
#include "base/unit.h"
#include "tensor/panel.h"

namespace ration {

// The least that is worth dealing: of few tokens the bytes that are read count, of many the rows,
// as the kernels share what they unpack.
inline constexpr int64_t kFewTokens = 8;
inline constexpr int64_t kDealtBytes = 64 * kKiB;
inline constexpr int64_t kDealtRows = 128;

// Whole panels, which are whole cache lines of output too. row_bytes: that are read for a row;
// least_rows: where there are many tokens.
inline Dealer deal_rows(const Pool& pool, int64_t rows, int64_t row_bytes, int64_t tokens,
                        int64_t least_rows = kDealtRows) {
  const int64_t least = tokens > kFewTokens ? least_rows : kDealtBytes / row_bytes;
  return Dealer(rows, pool.threads(), kRowsAPanel, least);
}

}  // namespace ration
