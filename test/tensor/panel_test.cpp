#include "tensor/panel.h"

#include <gtest/gtest.h>

#include "samples.h"

namespace ration {
namespace {

TEST(Panel, holds_the_rows_of_every_type) {
  Rng rng(1);
  for (const DTypeInfo& info : kDTypes) {
    if (!has_panels(info.dtype)) continue;
    for (int64_t rows : {1, 15, 16, 40}) {
      const samples::Weights w = samples::random_weights(info.dtype, rows, 512, rng);
      const samples::Weights kept = samples::packed(w);
      EXPECT_EQ(kept.matrix.bytes(), (rows + 15) / 16 * 16 * w.matrix.row_bytes());
      const auto bytes = static_cast<size_t>(w.matrix.row_bytes());
      std::vector<std::byte> row(bytes);
      std::vector<float> found(512), wanted(512);
      for (int64_t r = 0; r < rows; ++r) {
        unpack_panel_row(info.dtype, 512, kept.matrix.row(r - r % kRowsAPanel), r % kRowsAPanel,
                         row.data());
        ASSERT_EQ(std::memcmp(row.data(), w.matrix.row(r), bytes), 0) << info.name << " row " << r;
        dequantize_row(w.matrix, r, wanted.data());
        dequantize_row(kept.matrix, r, found.data());
        ASSERT_EQ(std::memcmp(found.data(), wanted.data(), 2048), 0) << info.name << " row " << r;
      }
    }
  }
}

TEST(Panel, split_holds_the_rows_of_the_types_that_have_it) {
  Rng rng(3);
  int64_t types = 0;
  for (const DTypeInfo& info : kDTypes) {
    if (!has_split_panels(info.dtype, 512)) continue;
    ++types;
    const SplitBlock block = split_block_of(info.dtype);
    EXPECT_EQ(block.upper_bytes + block.lower_bytes, info.block_bytes);
    for (int64_t rows : {1, 16, 40}) {
      const samples::Weights w = samples::random_weights(info.dtype, rows, 512, rng);
      const samples::Weights kept = samples::packed(w, Layout::kSplitPanels);
      EXPECT_EQ(kept.matrix.bytes(), (rows + 15) / 16 * 16 * w.matrix.row_bytes());
      std::vector<std::byte> row(static_cast<size_t>(w.matrix.row_bytes()));
      std::vector<float> found(512), wanted(512);
      for (int64_t r = 0; r < rows; ++r) {
        const SplitPlaces at = split_places(info.dtype, rows, 512, r - r % kRowsAPanel);
        unpack_split_row(info.dtype, kept.matrix.data + at.upper, kept.matrix.data + at.lower,
                         r % kRowsAPanel, 0, 512, row.data());
        ASSERT_EQ(std::memcmp(row.data(), w.matrix.row(r), row.size()), 0) << info.name << r;
        dequantize_row(w.matrix, r, wanted.data());
        dequantize_row(kept.matrix, r, found.data());
        ASSERT_EQ(std::memcmp(found.data(), wanted.data(), 2048), 0) << info.name << " row " << r;
      }
    }
  }
  EXPECT_EQ(types, 2);
  EXPECT_FALSE(has_split_panels(DType::kQ8_0, kSplitColumnsMax + 32));
}

TEST(Panel, of_few_rows_is_filled_up_with_zeros) {
  Rng rng(2);
  const samples::Weights w = samples::packed(samples::random_weights(DType::kQ8_0, 3, 64, rng));
  std::vector<std::byte> row(68);
  for (int64_t r = 3; r < kRowsAPanel; ++r) {
    unpack_panel_row(DType::kQ8_0, 64, w.matrix.data, r, row.data());
    EXPECT_EQ(row, std::vector<std::byte>(68)) << r;
  }
}

}  // namespace
}  // namespace ration
