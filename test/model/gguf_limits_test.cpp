// The largest tables a file may ask for stay within 16 MiB + 4x the file. This program counts every
// byte that operator new is asked for, so it is one of its own.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "base/unit.h"
#include "model/gguf.h"
#include "test/model/gguf_writer.h"

namespace {
std::atomic<int64_t> allocated{0};
}  // namespace

void* operator new(size_t size) {
  allocated += static_cast<int64_t>(size);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace ration {
namespace {

namespace fs = std::filesystem;
using test::GgufWriter;

class GgufLimits : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ =
        fs::temp_directory_path() / ("ration_limits_test." + std::to_string(getpid()) + ".gguf");
  }
  void TearDown() override { fs::remove(path_); }
  // Opens the file and checks what that took.
  void expect_bounded(const GgufWriter& writer, bool opens) {
    writer.write(path_);
    const int64_t before = allocated;
    {
      const Result<Gguf> file = Gguf::open(path_);
      EXPECT_EQ(static_cast<bool>(file), opens) << file.error().message;
    }
    const int64_t taken = allocated - before;
    const auto file_bytes = static_cast<int64_t>(fs::file_size(path_));
    EXPECT_LE(taken, 16 * kMiB + 4 * file_bytes) << file_bytes;
    EXPECT_GT(taken, 0);
  }
  fs::path path_;
};

// Short names that differ: "a", "b", ... "aa", ...
std::string short_name(uint64_t number) {
  std::string out;
  for (uint64_t rest = number + 1; rest > 0; rest /= 64) {
    out += static_cast<char>('0' + static_cast<int>(rest % 64));
  }
  return out;
}

TEST_F(GgufLimits, hold_for_the_most_keys_and_tensors) {
  GgufWriter writer;
  for (uint64_t i = 0; i < 8192; ++i) writer.add_u8(short_name(i), 1);
  for (uint64_t i = 0; i < 32768; ++i) writer.raw_tensor(short_name(i), {1, 1, 1, 1}, 0, i * 32);
  writer.raw_data(std::string(32768 * 32, 'x'));
  expect_bounded(writer, true);
}

TEST_F(GgufLimits, hold_for_tables_that_turn_out_to_be_short) {
  GgufWriter writer;
  writer.key_count = 8192;
  writer.add_u8("k", 1);
  expect_bounded(writer, false);
  GgufWriter tensors;
  tensors.tensor_count = 32768;
  expect_bounded(tensors, false);
}

TEST_F(GgufLimits, hold_for_long_names_and_long_arrays) {
  GgufWriter writer;
  for (uint64_t i = 0; i < 100; ++i) writer.add_u8(short_name(i) + std::string(65000, 'k'), 1);
  writer.add_strings("strings", std::vector<std::string>(1 << 20));
  expect_bounded(writer, true);
  const Result<Gguf> file = Gguf::open(path_);
  ASSERT_TRUE(file);
  const int64_t before = allocated;
  EXPECT_EQ(file->get_strings("strings")->size(), size_t{1} << 20);
  EXPECT_LE(allocated - before, 16 * kMiB + 4 * file->file_bytes().count);
}

}  // namespace
}  // namespace ration
