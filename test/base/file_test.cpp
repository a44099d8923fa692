#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace ration {
namespace {

namespace fs = std::filesystem;

class File : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("ration_file_test." + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const char* name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  fs::path folder_;
};

TEST_F(File, maps_what_was_written) {
  Result<MappedFile> file = MappedFile::open(write("a", "hello"));
  ASSERT_TRUE(file);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()),
            "hello");
  EXPECT_TRUE(file->unchanged());
}

TEST_F(File, says_what_is_wrong_with_a_path) {
  EXPECT_EQ(MappedFile::open(folder_ / "missing").error().code, Code::kNotFound);
  EXPECT_EQ(MappedFile::open(folder_).error().code, Code::kInvalid);
  EXPECT_EQ(MappedFile::open(write("empty", "")).error().code, Code::kCorrupt);
}

TEST_F(File, notices_change_but_lives_on_after_deletion) {
  const fs::path path = write("a", "hello");
  Result<MappedFile> file = MappedFile::open(path);
  ASSERT_TRUE(file);
  write("a", "longer than before");
  EXPECT_EQ(file->unchanged().error().code, Code::kCorrupt);
  fs::remove(path);
  EXPECT_TRUE(file->unchanged());
  write("b", "other");
  fs::rename(folder_ / "b", path);
  EXPECT_EQ(file->unchanged().error().code, Code::kCorrupt);
}

TEST_F(File, truncation_while_mapped_exits_with_words) {
  const fs::path path = write("model", std::string(64 * 1024, 'x'));
  EXPECT_EXIT(
      {
        install_truncation_guard(4);
        Result<MappedFile> file = MappedFile::open(path);
        fs::resize_file(path, 10);
        volatile std::byte touched = file->bytes()[40 * 1024];
        (void)touched;
      },
      ::testing::ExitedWithCode(4), "truncated while in use");
}

TEST_F(File, replaces_atomically_and_reads_back) {
  const fs::path path = folder_ / "out";
  ASSERT_TRUE(write_file_atomically(path, "one"));
  ASSERT_TRUE(write_file_atomically(path, "two"));
  EXPECT_EQ(*read_file(path, Bytes{10}), "two");
  EXPECT_FALSE(read_file(path, Bytes{2}));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator{}), 1);
  EXPECT_EQ(write_file_atomically(folder_ / "no" / "folder", "x").error().code, Code::kIo);
}

TEST_F(File, free_disk_answers_for_a_path_that_is_not_there_yet) {
  Result<Bytes> room = free_disk(folder_ / "a" / "b" / "c");
  ASSERT_TRUE(room);
  EXPECT_GT(*room, Bytes{0});
}

}  // namespace
}  // namespace ration
