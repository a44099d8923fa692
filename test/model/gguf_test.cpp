#include "model/gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>
#include <numeric>

#include "test/model/gguf_writer.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using test::GgufWriter;

class GgufFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("ration_gguf_test." + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  Result<Gguf> open(const GgufWriter& writer) {
    const fs::path path = folder_ / "model.gguf";
    writer.write(path);
    return Gguf::open(path);
  }
  // The first `count` numbers of a tensor, 0, 1, 2, ...
  static std::vector<float> ramp(size_t count) {
    std::vector<float> values(count);
    std::iota(values.begin(), values.end(), 0.0f);
    return values;
  }
  fs::path folder_;
};

GgufWriter all_types() {
  GgufWriter writer;
  writer.add("string", "h\xc3\xa9llo");
  writer.add_u8("u8", 255);
  writer.add_i8("i8", -128);
  writer.add_u16("u16", 65535);
  writer.add_i16("i16", -32768);
  writer.add_u32("u32", 4294967295u);
  writer.add_i32("i32", std::numeric_limits<int32_t>::min());
  writer.add_u64("u64", 1ull << 62);
  writer.add_u64("u64 too large", 1ull << 63);
  writer.add_i64("i64", std::numeric_limits<int64_t>::min());
  writer.add_f32("f32", 0.5f);
  writer.add_f64("f64", 0.1);
  writer.add_bool("yes", true);
  writer.add_bool("no", false);
  writer.add_strings("strings", {"a", "", "\xff"});
  writer.add_array<int32_t>("i32s", {-1, 2});
  writer.add_array<uint8_t>("u8s", {1, 255});
  writer.add_array<float>("f32s", {0.5f, -1.0f});
  writer.add_array<uint64_t>("u64s", {1ull << 63});
  writer.add_array<float>("none", {});
  return writer;
}

TEST_F(GgufFile, serves_every_value_type_by_key) {
  for (const uint32_t version : {2u, 3u}) {
    GgufWriter writer = all_types();
    writer.version = version;
    const Result<Gguf> file = open(writer);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(*file->get_string("string"), "h\xc3\xa9llo");
    EXPECT_EQ(*file->get_int("u8"), 255);
    EXPECT_EQ(*file->get_int("i8"), -128);
    EXPECT_EQ(*file->get_int("u16"), 65535);
    EXPECT_EQ(*file->get_int("i16"), -32768);
    EXPECT_EQ(*file->get_int("u32"), 4294967295);
    EXPECT_EQ(*file->get_int("i32"), std::numeric_limits<int32_t>::min());
    EXPECT_EQ(*file->get_int("u64"), int64_t{1} << 62);
    EXPECT_EQ(*file->get_int("i64"), std::numeric_limits<int64_t>::min());
    EXPECT_EQ(*file->get_float("f32"), 0.5);
    EXPECT_EQ(*file->get_float("f64"), 0.1);
    EXPECT_EQ(*file->get_float("i8"), -128.0);
    EXPECT_EQ(*file->get_float("u64 too large"), 0x1p63);
    EXPECT_EQ(**file->find_bool("yes"), true);
    EXPECT_EQ(**file->find_bool("no"), false);
    EXPECT_EQ(*file->get_strings("strings"), (std::vector<std::string_view>{"a", "", "\xff"}));
    EXPECT_EQ(*file->get_ints("i32s"), (std::vector<int64_t>{-1, 2}));
    EXPECT_EQ(*file->get_ints("u8s"), (std::vector<int64_t>{1, 255}));
    EXPECT_EQ(*file->get_floats("f32s"), (std::vector<double>{0.5, -1.0}));
    EXPECT_EQ(*file->get_floats("i32s"), (std::vector<double>{-1.0, 2.0}));
    EXPECT_EQ(*file->get_floats("u64s"), (std::vector<double>{0x1p63}));
    EXPECT_TRUE(file->get_floats("none")->empty());
    EXPECT_EQ(file->keys().size(), 20u);
    EXPECT_EQ(file->keys().front(), "string");
    EXPECT_EQ(file->keys().back(), "none");
  }
}

TEST_F(GgufFile, tells_absent_keys_from_wrong_types) {
  const Result<Gguf> file = open(all_types());
  ASSERT_TRUE(file);
  EXPECT_FALSE(file->has("absent"));
  EXPECT_EQ(*file->find_int("absent"), std::nullopt);
  EXPECT_EQ(*file->find_float("absent"), std::nullopt);
  EXPECT_EQ(*file->find_bool("absent"), std::nullopt);
  EXPECT_EQ(*file->find_string("absent"), std::nullopt);
  EXPECT_TRUE(file->get_strings("absent")->empty());
  EXPECT_TRUE(file->get_ints("absent")->empty());
  const std::string path = (folder_ / "model.gguf").string();
  EXPECT_EQ(file->get_int("absent").error().message, path + ": key 'absent' is missing");
  EXPECT_EQ(file->get_int("absent").error().code, Code::kCorrupt);
  const auto message = [&](const auto& result) {
    return result.error().message.substr(path.size() + 2);
  };
  EXPECT_EQ(message(file->find_int("f32")), "key 'f32': found type f32, wanted an integer");
  EXPECT_EQ(message(file->get_int("string")), "key 'string': found type string, wanted an integer");
  EXPECT_EQ(message(file->get_int("u64 too large")),
            "key 'u64 too large': found 9223372036854775808, wanted at most 2^63 - 1");
  EXPECT_EQ(message(file->find_float("yes")), "key 'yes': found type bool, wanted a number");
  EXPECT_EQ(message(file->find_bool("u8")), "key 'u8': found type u8, wanted bool");
  EXPECT_EQ(message(file->find_string("i32s")), "key 'i32s': found type array, wanted string");
  EXPECT_EQ(message(file->get_strings("i32s")),
            "key 'i32s': found an array of type i32, wanted one of strings");
  EXPECT_EQ(message(file->get_strings("string")), "key 'string': found type string, wanted array");
  EXPECT_EQ(message(file->get_ints("strings")),
            "key 'strings': found an array of type string, wanted one of integers");
  EXPECT_EQ(message(file->get_ints("f32s")), "key 'f32s': found type f32, wanted an integer");
  EXPECT_EQ(message(file->get_ints("u64s")),
            "key 'u64s': found 9223372036854775808, wanted at most 2^63 - 1");
}

TEST_F(GgufFile, points_tensors_at_their_bytes) {
  GgufWriter writer;
  writer.add_u32("general.alignment", 64);
  writer.alignment = 64;
  const std::vector<float> values = ramp(6);
  writer.add_f32_tensor("first", {3, 2}, values);
  std::vector<std::byte> blocks(2 * 34);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(i);
  writer.add_tensor("second", DType::kQ8_0, {32, 2, 1, 1}, blocks);
  const Result<Gguf> file = open(writer);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 2u);
  const GgufTensor* first = file->find_tensor("first");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->cols(), 3);
  EXPECT_EQ(first->rows(), 2);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first->bytes.data()) % 64, 0u);
  EXPECT_EQ(std::memcmp(first->bytes.data(), values.data(), 24), 0);
  EXPECT_EQ(first->matrix().row(1), first->bytes.data() + 12);
  const GgufTensor* second = file->find_tensor("second");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->shape, (std::vector<int64_t>{32, 2, 1, 1}));
  EXPECT_TRUE(std::equal(second->bytes.begin(), second->bytes.end(), blocks.begin(), blocks.end()));
  EXPECT_EQ(file->find_tensor("third"), nullptr);
  EXPECT_EQ(file->tensor_bytes(), Bytes{24 + 68});
  EXPECT_EQ(file->file_bytes(), Bytes{static_cast<int64_t>(fs::file_size(folder_ / "model.gguf"))});
}

TEST_F(GgufFile, opens_a_vocabulary_without_tensors) {
  GgufWriter writer;
  writer.add("general.architecture", "llama");
  writer.add_strings("tokenizer.ggml.tokens", {"<s>", "a"});
  const Result<Gguf> file = open(writer);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(file->tensors().empty());
  EXPECT_EQ(file->get_strings("tokenizer.ggml.tokens")->size(), 2u);
}

TEST_F(GgufFile, stays_good_when_moved_and_when_its_file_goes) {
  GgufWriter writer;
  writer.add("a", "short");
  writer.add_f32_tensor("w", {4}, ramp(4));
  Result<Gguf> opened = open(writer);
  ASSERT_TRUE(opened);
  const Gguf moved = *std::move(opened);
  EXPECT_EQ(*moved.get_string("a"), "short");
  ASSERT_NE(moved.find_tensor("w"), nullptr);
  fs::remove(folder_ / "model.gguf");
  EXPECT_TRUE(moved.unchanged());
  EXPECT_EQ(*moved.get_string("a"), "short");
  writer.add("b", "another file of the same name");
  writer.write(folder_ / "model.gguf");
  EXPECT_EQ(moved.unchanged().error().code, Code::kCorrupt);
}

TEST_F(GgufFile, refuses_paths_that_are_no_model) {
  EXPECT_EQ(Gguf::open(folder_ / "missing.gguf").error().code, Code::kNotFound);
  EXPECT_EQ(Gguf::open(folder_).error().code, Code::kInvalid);
}

// Three parts as llama-gguf-split writes them: the metadata and no tensor of the last in the first.
class SplitFile : public GgufFile {
 protected:
  fs::path part(int number) const {
    return folder_ / ("m-0000" + std::to_string(number) + "-of-00003.gguf");
  }
  GgufWriter writer_of(int number) const {
    GgufWriter writer;
    if (number == 1) writer.add("general.architecture", "llama");
    writer.add_u16("split.no", static_cast<uint16_t>(number - 1));
    writer.add_u16("split.count", 3);
    writer.add_i32("split.tensors.count", 3);
    writer.add_f32_tensor("t" + std::to_string(number), {4}, ramp(4));
    return writer;
  }
  void write_all() const {
    for (int number = 1; number <= 3; ++number) writer_of(number).write(part(number));
  }
  std::string refusal(int number) const {
    const Result<Gguf> file = Gguf::open(part(number));
    return file ? "opened" : file.error().message;
  }
};

TEST_F(SplitFile, opens_as_one_from_any_part) {
  write_all();
  for (int number = 1; number <= 3; ++number) {
    const Result<Gguf> file = Gguf::open(part(number));
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(*file->get_string("general.architecture"), "llama");
    ASSERT_EQ(file->tensors().size(), 3u);
    for (const char* name : {"t1", "t2", "t3"}) {
      const GgufTensor* tensor = file->find_tensor(name);
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(std::memcmp(tensor->bytes.data(), ramp(4).data(), 16), 0);
    }
    EXPECT_EQ(file->path(), part(1));
    EXPECT_EQ(file->file_bytes().count,
              static_cast<int64_t>(fs::file_size(part(1)) + 2 * fs::file_size(part(2))));
    EXPECT_EQ(file->tensor_bytes(), Bytes{48});
    EXPECT_TRUE(file->unchanged());
  }
}

TEST_F(SplitFile, notices_change_of_any_part) {
  write_all();
  const Result<Gguf> file = Gguf::open(part(1));
  ASSERT_TRUE(file);
  fs::remove(part(3));
  writer_of(3).write(part(3));
  EXPECT_EQ(file->unchanged().error().code, Code::kCorrupt);
}

TEST_F(SplitFile, names_the_missing_part) {
  write_all();
  fs::remove(part(2));
  EXPECT_EQ(Gguf::open(part(1)).error().code, Code::kNotFound);
  EXPECT_EQ(refusal(3),
            "part 2 of 3: cannot open " + part(2).string() + ": No such file or directory");
}

TEST_F(SplitFile, refuses_parts_that_do_not_belong_together) {
  write_all();
  fs::copy_file(part(3), part(2), fs::copy_options::overwrite_existing);
  EXPECT_EQ(refusal(1), part(2).string() + ": found split.no 2 and split.count 3, wanted 1 and 3");
  EXPECT_EQ(refusal(2), part(2).string() +
                            ": found part 3 of 3 under this name, wanted a name that "
                            "ends in -00003-of-00003.gguf");
  GgufWriter duplicate;
  duplicate.add_u16("split.no", 1);
  duplicate.add_u16("split.count", 3);
  duplicate.add_f32_tensor("t1", {4}, ramp(4));
  duplicate.write(part(2));
  EXPECT_EQ(refusal(1), part(1).string() + ": tensor 't1': found twice, wanted once");
  GgufWriter empty;
  empty.add_u16("split.no", 1);
  empty.add_u16("split.count", 3);
  empty.write(part(2));
  EXPECT_EQ(refusal(1), part(1).string() +
                            ": found 2 tensors in 3 parts, wanted 3 (key 'split.tensors.count')");
  GgufWriter plain;
  plain.write(part(2));
  EXPECT_EQ(refusal(1), part(2).string() + ": key 'split.no' is missing");
}

TEST_F(SplitFile, refuses_counts_that_make_no_sense) {
  const auto refused = [&](int64_t number, int64_t count) {
    GgufWriter writer;
    writer.add_i64("split.no", number);
    writer.add_i64("split.count", count);
    writer.write(part(1));
    return refusal(1).substr(part(1).string().size() + 2);
  };
  EXPECT_EQ(refused(0, int64_t{1} << 60),
            "key 'split.count': found 1152921504606846976, wanted 0 to 1024");
  EXPECT_EQ(refused(0, -1), "key 'split.count': found -1, wanted 0 to 1024");
  EXPECT_EQ(refused(3, 3), "key 'split.no': found 3, wanted 0 to 2");
  EXPECT_EQ(refused(-1, 3), "key 'split.no': found -1, wanted 0 to 2");
}

}  // namespace
}  // namespace ration
