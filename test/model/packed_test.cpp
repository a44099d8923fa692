#include "model/packed.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <optional>
#include <thread>

#include "base/rng.h"
#include "tensor/kernels.h"
#include "test/model/gguf_writer.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWidth = 256;
constexpr int64_t kInner = 512;
constexpr int64_t kVocabulary = 40;  // no multiple of 16

std::vector<std::byte> random_bytes(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.below(256));
  return bytes;
}

// A file of matrices of several types, and a network of one layer over them.
class Packed : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("ration_packed_test." + std::to_string(getpid()));
    fs::create_directories(folder_);
    write_model(1);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path model() const { return folder_ / "model.gguf"; }
  fs::path panels() const { return packed_path_beside(model()); }

  void write_model(uint64_t seed) {
    test::GgufWriter writer;
    const auto add = [&](const char* name, DType dtype, int64_t rows, int64_t cols) {
      writer.add_tensor(name, dtype, {cols, rows},
                        random_bytes(rows * row_bytes(dtype, cols), seed));
    };
    add("query", DType::kQ4_K, kWidth, kWidth);
    add("key", DType::kQ5_0, 64, kWidth);
    add("value", DType::kQ6_K, 64, kWidth);
    add("output", DType::kMXFP4, kWidth, kWidth);
    add("gate", DType::kQ8_0, kInner, kWidth);
    add("up", DType::kF16, kInner, kWidth);  // not quantised: stays in the file
    add("down", DType::kQ3_K, kWidth, kInner);
    add("embedding", DType::kQ6_K, kVocabulary, kWidth);
    writer.write(model());
  }

  static Gguf opened(const fs::path& path) {
    Result<Gguf> file = Gguf::open(path);
    CHECK(file, file ? "" : file.error().message);
    return std::move(*file);
  }

  static Network network_of(const Gguf& file) {
    const auto linear = [&](const char* name) { return Linear{file.find_tensor(name)->matrix()}; };
    Network network;
    network.embedding = linear("embedding").weight;
    network.output.weight = network.embedding;
    network.stages.push_back(AttentionStage{.query = linear("query"),
                                            .key = linear("key"),
                                            .value = linear("value"),
                                            .output = linear("output")});
    network.stages.push_back(
        FeedForwardStage{.gate = linear("gate"), .up = linear("up"), .down = linear("down")});
    return network;
  }

  static std::vector<const Matrix*> matrices(const Network& network) {
    const auto& attention = std::get<AttentionStage>(network.stages[0]);
    const auto& feed = std::get<FeedForwardStage>(network.stages[1]);
    return {&attention.query.weight,  &attention.key.weight, &attention.value.weight,
            &attention.output.weight, &feed.gate.weight,     &feed.up.weight,
            &feed.down.weight,        &network.embedding,    &network.output.weight};
  }

  Status build(const PackedWeights::Progress& progress = {}) {
    const Gguf file = opened(model());
    Pool pool(2);
    return PackedWeights::build(panels(), file, network_of(file), pool, progress);
  }
  // The code of what opening the packed file says; nullopt when it opens.
  std::optional<Code> problem() const {
    const Gguf file = opened(model());
    const Result<PackedWeights> packed = PackedWeights::open(panels(), file, network_of(file));
    return packed ? std::nullopt : std::optional(packed.error().code);
  }
  void overwrite(int64_t offset, std::string_view bytes) const {
    std::fstream file(panels(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset);
    file << bytes;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      all.push_back(entry.path().filename().string());
    }
    std::ranges::sort(all);
    return all;
  }

  fs::path folder_;
};

TEST_F(Packed, holds_every_row_of_every_matrix) {
  EXPECT_EQ(problem(), Code::kNotFound);
  ASSERT_TRUE(build());
  const Gguf file = opened(model());
  const Network plain = network_of(file);
  Network network = network_of(file);
  const Result<PackedWeights> packed = PackedWeights::open(panels(), file, network);
  ASSERT_TRUE(packed) << packed.error().message;
  EXPECT_EQ(packed->bytes(), PackedWeights::bytes_for(plain));
  packed->use_in(network);
  EXPECT_EQ(network.embedding.data, network.output.weight.data);
  const auto wanted = matrices(plain), found = matrices(network);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const bool stays = wanted[i]->dtype == DType::kF16;
    const bool is_output = wanted[i]->data == plain.output.weight.data;
    EXPECT_EQ(found[i]->layout, stays       ? Layout::kRowMajor
                                : is_output ? Layout::kSplitPanels
                                            : Layout::kPanels)
        << i;
    EXPECT_EQ(found[i]->data == wanted[i]->data, stays) << i;
    std::vector<std::byte> row(static_cast<size_t>(wanted[i]->row_bytes()));
    for (int64_t r = 0; r < wanted[i]->rows && !stays; ++r) {
      const std::byte* panel = found[i]->row(r - r % kRowsAPanel);
      const int64_t lane = r % kRowsAPanel, cols = wanted[i]->cols;
      if (is_output) {
        const SplitPlaces at = split_places(found[i]->dtype, found[i]->rows, cols, r - lane);
        unpack_split_row(wanted[i]->dtype, found[i]->data + at.upper, found[i]->data + at.lower,
                         lane, 0, cols, row.data());
      } else {
        unpack_panel_row(wanted[i]->dtype, cols, panel, lane, row.data());
      }
      ASSERT_EQ(std::memcmp(row.data(), wanted[i]->row(r), row.size()), 0) << i << " row " << r;
    }
  }
}

TEST_F(Packed, is_marked_as_used_and_locked_while_it_is_open) {
  ASSERT_TRUE(build());
  const std::array<timespec, 2> past{{{1000, 0}, {2000, 0}}};
  ASSERT_EQ(::utimensat(AT_FDCWD, panels().c_str(), past.data(), 0), 0);
  const Descriptor other{::open(panels().c_str(), O_RDONLY | O_NOATIME)};
  {
    const Gguf file = opened(model());
    const auto packed = PackedWeights::open(panels(), file, network_of(file));
    ASSERT_TRUE(packed);
    EXPECT_NE(::flock(other.number, LOCK_EX | LOCK_NB), 0);
    EXPECT_EQ(problem(), std::nullopt);  // readers share it
  }
  EXPECT_EQ(::flock(other.number, LOCK_EX | LOCK_NB), 0);
  struct stat status{};
  ASSERT_EQ(::fstat(other.number, &status), 0);
  EXPECT_GT(status.st_atim.tv_sec, 1'000'000);
  EXPECT_EQ(status.st_mtim.tv_sec, 2000);
}

TEST_F(Packed, leaves_an_embedding_that_is_only_looked_up) {
  const Gguf file = opened(model());
  Network network = network_of(file);
  const Bytes tied = PackedWeights::bytes_for(network);
  network.output.weight = std::get<AttentionStage>(network.stages[0]).query.weight;
  EXPECT_LT(PackedWeights::bytes_for(network), tied);
}

TEST_F(Packed, goes_with_its_model_wherever_that_is_moved) {
  ASSERT_TRUE(build());
  fs::last_write_time(model(), fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(problem(), std::nullopt);
  // The head knows the new time now: the content is not hashed again, so that what it says of it
  // does not matter.
  overwrite(32, std::string(64, 'f'));
  EXPECT_EQ(problem(), std::nullopt);
  fs::last_write_time(model(), fs::file_time_type::clock::now() + std::chrono::hours(2));
  EXPECT_EQ(problem(), Code::kCorrupt);
}

TEST_F(Packed, made_from_other_weights_is_stale) {
  ASSERT_TRUE(build());
  write_model(2);  // the same shapes
  EXPECT_EQ(problem(), Code::kCorrupt);
  ASSERT_TRUE(build());
  EXPECT_EQ(problem(), std::nullopt);
}

TEST_F(Packed, damaged_is_refused) {
  ASSERT_TRUE(build());
  const auto size = fs::file_size(panels());
  for (const auto& [offset, bytes] : std::vector<std::pair<int64_t, std::string>>{
           {0, "X"}, {8, "\x07"}, {12, "\x08"}, {16, "\x01"}, {24, "zz"}}) {
    overwrite(offset, bytes);
    EXPECT_EQ(problem(), Code::kCorrupt) << offset;
    ASSERT_TRUE(build());
    EXPECT_EQ(problem(), std::nullopt) << offset;
  }
  for (const uintmax_t cut : {uintmax_t{1}, uintmax_t{100}, uintmax_t{4096}, size - 1}) {
    fs::resize_file(panels(), cut);
    EXPECT_EQ(problem(), Code::kCorrupt) << cut;
  }
  ASSERT_TRUE(build());
  EXPECT_EQ(problem(), std::nullopt);
}

TEST_F(Packed, of_another_user_is_not_trusted) {
  ASSERT_TRUE(build());
  EXPECT_TRUE(trusted_owner(7, 7, 9) && trusted_owner(9, 7, 9) && trusted_owner(0, 7, 9));
  EXPECT_FALSE(trusted_owner(8, 7, 9) || trusted_owner(8, 0, 9) || trusted_owner(8, 7, 0));
  if (::chown(panels().c_str(), 12345, -1) != 0) return;  // only root gives files away
  EXPECT_EQ(problem(), Code::kCorrupt);
  ASSERT_EQ(::chown(model().c_str(), 12345, -1), 0);
  EXPECT_EQ(problem(), std::nullopt);
}

TEST_F(Packed, a_link_is_not_written_through) {
  std::ofstream(folder_ / "precious") << "keep me";
  fs::create_symlink(folder_ / "precious", panels().string() + ".part");
  EXPECT_FALSE(build());
  EXPECT_EQ(fs::file_size(folder_ / "precious"), 7u);
}

TEST_F(Packed, stopped_or_failed_leaves_nothing_behind) {
  int calls = 0;
  const Status stopped = build([&](Bytes done, Bytes total) {
    EXPECT_GT(done, Bytes{0});
    EXPECT_LE(done, total);
    return ++calls < 3;
  });
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Code::kCancelled);
  EXPECT_EQ(names(), std::vector<std::string>{"model.gguf"});
  const Gguf file = opened(model());
  Pool pool(1);
  const Status nowhere =
      PackedWeights::build("/proc/none/x.panels", file, network_of(file), pool, {});
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message.find("/proc"), std::string::npos) << nowhere.error().message;
}

TEST_F(Packed, two_builders_make_one_file) {
  std::vector<Status> built(2);
  {
    std::jthread first([&] { built[0] = build(); });
    std::jthread second([&] { built[1] = build(); });
  }
  EXPECT_TRUE(built[0]) << built[0].error().message;
  EXPECT_TRUE(built[1]) << built[1].error().message;
  EXPECT_EQ(problem(), std::nullopt);
  EXPECT_EQ(names(), (std::vector<std::string>{"model.gguf", "model.gguf.panels"}));
}

}  // namespace
}  // namespace ration
