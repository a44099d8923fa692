// Each kind of broken GGUF header is an Error that says what was found and what was wanted.
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>

#include "model/gguf.h"
#include "test/model/gguf_writer.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using test::GgufWriter;
using Type = GgufValue::Type;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ8 = 8;
constexpr auto kString = static_cast<uint32_t>(Type::kString);
constexpr auto kArray = static_cast<uint32_t>(Type::kArray);

class HostileGguf : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ =
        fs::temp_directory_path() / ("ration_hostile_test." + std::to_string(getpid()) + ".gguf");
  }
  void TearDown() override { fs::remove(path_); }

  // The refusal of these bytes without the path, "opened" when there was none.
  std::string refusal(const std::string& bytes, Code wanted = Code::kCorrupt) {
    std::ofstream(path_, std::ios::binary) << bytes;
    const Result<Gguf> file = Gguf::open(path_);
    if (file) return "opened";
    EXPECT_EQ(file.error().code, wanted) << file.error().message;
    const std::string prefix = path_.string() + ": ";
    EXPECT_TRUE(file.error().message.starts_with(prefix)) << file.error().message;
    return file.error().message.substr(std::min(prefix.size(), file.error().message.size()));
  }
  std::string refusal(const GgufWriter& writer, Code wanted = Code::kCorrupt) {
    return refusal(writer.bytes(), wanted);
  }
  // A file with one tensor like this, and 64 bytes of data.
  std::string tensor_refusal(std::initializer_list<uint64_t> shape, uint32_t type, uint64_t offset,
                             Code wanted = Code::kCorrupt) {
    GgufWriter writer;
    writer.raw_tensor("w", shape, type, offset);
    writer.raw_data(std::string(64, 'x'));
    return refusal(writer, wanted);
  }
  fs::path path_;
};

std::string number(uint64_t value) {
  std::string out;
  GgufWriter::append_number(out, value);
  return out;
}
std::string id(uint32_t value) {
  std::string out;
  GgufWriter::append_number(out, value);
  return out;
}

TEST_F(HostileGguf, is_refused_for_magic_version_and_byte_order) {
  GgufWriter writer;
  writer.magic = "GGML";
  EXPECT_EQ(refusal(writer), "magic: found 'GGML', wanted 'GGUF'");
  writer.magic = "\x1b[2J";
  EXPECT_EQ(refusal(writer), "magic: found '\\x1b[2J', wanted 'GGUF'");
  writer.magic = "GGUF";
  for (const uint32_t version : {0u, 1u, 4u, 0x7fffffffu}) {
    writer.version = version;
    EXPECT_EQ(refusal(writer, Code::kUnsupported),
              "version: found " + std::to_string(version) + ", wanted 2 or 3");
  }
  writer.version = 0x03000000;
  EXPECT_EQ(refusal(writer, Code::kUnsupported),
            "byte order: found big-endian (version 3), wanted little-endian");
}

TEST_F(HostileGguf, is_refused_wherever_it_is_cut) {
  GgufWriter writer;
  writer.add("general.name", "model");
  writer.add_u32("general.alignment", 32);
  writer.add_strings("tokens", {"a", "b"});
  writer.add_array<float>("scores", {1.0f, 2.0f});
  const std::vector<float> values(16);
  writer.add_f32_tensor("w", {8, 2}, values);
  const std::string whole = writer.bytes();
  ASSERT_EQ(refusal(whole), "opened");
  for (size_t length = 1; length < whole.size(); ++length) {
    EXPECT_NE(refusal(whole.substr(0, length)), "opened") << length;
  }
  EXPECT_EQ(refusal(whole.substr(0, 3)), "magic: found 3 bytes left in the file, wanted 4");
  EXPECT_EQ(refusal(whole.substr(0, 5)), "version: found 1 bytes left in the file, wanted 4");
  EXPECT_EQ(refusal(whole.substr(0, 9)), "tensor count: found 1 bytes left in the file, wanted 8");
  EXPECT_EQ(refusal(whole.substr(0, 20)), "key count: found 4 bytes left in the file, wanted 8");
  EXPECT_EQ(refusal(whole.substr(0, 40)),
            "name of metadata key 0: found length 12, wanted at most the 8 bytes left in the file");
  EXPECT_EQ(refusal(whole.substr(0, whole.size() - 1)),
            "tensor 'w': found 64 bytes from byte 224, beyond the file's 287 bytes");
}

TEST_F(HostileGguf, is_refused_for_counts_beyond_reason) {
  constexpr uint64_t kHuge = 1ull << 60;
  GgufWriter tensors;
  tensors.tensor_count = kHuge;
  EXPECT_EQ(refusal(tensors), "tensor count: found 1152921504606846976, wanted at most 32768");
  GgufWriter keys;
  keys.key_count = kHuge;
  EXPECT_EQ(refusal(keys), "key count: found 1152921504606846976, wanted at most 8192");
  keys.key_count = 8000;
  EXPECT_EQ(refusal(keys), "name of metadata key 0: found 0 bytes left in the file, wanted 8");
  for (const uint64_t count : {kHuge, ~uint64_t{0}, uint64_t{1} << 61}) {
    const std::string text = std::to_string(count);
    GgufWriter numbers;
    numbers.raw_entry("k", kArray, id(kF32 + 6) + number(count));
    EXPECT_EQ(refusal(numbers),
              "key 'k': found " + text +
                  " values of 4 bytes, wanted at most the 0 bytes left in the file");
    GgufWriter strings;
    strings.raw_entry("k", kArray, id(kString) + number(count) + number(0));
    EXPECT_EQ(refusal(strings),
              "key 'k': found " + text + " strings, wanted at most the 8 bytes left in the file");
    GgufWriter string;
    string.raw_entry("k", kString, number(count));
    EXPECT_EQ(refusal(string),
              "key 'k': found length " + text + ", wanted at most the 0 bytes left in the file");
  }
  GgufWriter element;
  element.raw_entry("k", kArray, id(kString) + number(2) + number(1) + "a" + number(9) + "b");
  EXPECT_EQ(refusal(element),
            "key 'k' string 1: found length 9, wanted at most the 1 bytes left in the file");
}

TEST_F(HostileGguf, is_refused_for_names_it_should_not_have) {
  GgufWriter empty;
  empty.add_u32("", 1);
  EXPECT_EQ(refusal(empty), "name of metadata key 0: found 0 bytes, wanted 1 to 65535");
  GgufWriter large;
  large.add_u32(std::string(65536, 'k'), 1);
  EXPECT_EQ(refusal(large), "name of metadata key 0: found 65536 bytes, wanted 1 to 65535");
  GgufWriter escape;
  escape.add_u32("a\x1b]0;", 1);
  EXPECT_EQ(refusal(escape),
            "name of metadata key 0: found 'a\\x1b]0;', wanted UTF-8 without control characters");
  GgufWriter broken;
  broken.raw_tensor("w\xff", {1}, kF32, 0);
  EXPECT_EQ(refusal(broken),
            "name of tensor 0: found 'w\\xff', wanted UTF-8 without control characters");
  GgufWriter name;
  name.raw_tensor(std::string(256, 'w'), {1}, kF32, 0);
  EXPECT_EQ(refusal(name), "name of tensor 0: found 256 bytes, wanted 1 to 255");
  GgufWriter twice;
  twice.add_u32("k", 1);
  twice.add_f32("k", 1);
  EXPECT_EQ(refusal(twice), "key 'k': found twice, wanted once");
  GgufWriter tensors;
  const std::vector<float> values(8);
  tensors.add_f32_tensor("w", {8}, values);
  tensors.add_f32_tensor("w", {8}, values);
  EXPECT_EQ(refusal(tensors), "tensor 'w': found twice, wanted once");
}

TEST_F(HostileGguf, is_refused_for_value_types_it_should_not_have) {
  GgufWriter type;
  type.raw_entry("k", 13, number(0));
  EXPECT_EQ(refusal(type), "key 'k': found value type 13, wanted 0 to 12");
  GgufWriter element;
  element.raw_entry("k", kArray, id(0xffffffff) + number(0));
  EXPECT_EQ(refusal(element), "key 'k': found element type 4294967295, wanted 0 to 12");
  GgufWriter nested;
  nested.raw_entry("k", kArray, id(kArray) + number(1) + id(kF32) + number(0));
  EXPECT_EQ(refusal(nested, Code::kUnsupported),
            "key 'k': found an array of arrays, wanted one of numbers or strings");
  GgufWriter boolean;
  boolean.raw_entry("k", 7, "\x02");
  EXPECT_EQ(refusal(boolean), "key 'k': found 2 for a bool, wanted 0 or 1");
  GgufWriter booleans;
  booleans.raw_entry("k", kArray, id(7) + number(2) + std::string("\x01\xff"));
  EXPECT_EQ(refusal(booleans), "key 'k': found 255 for a bool, wanted 0 or 1");
}

TEST_F(HostileGguf, is_refused_for_alignments_that_are_none) {
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 1u << 21, 0xffffffffu}) {
    GgufWriter writer;
    writer.add_u32("general.alignment", alignment);
    EXPECT_EQ(refusal(writer), "key 'general.alignment': found " + std::to_string(alignment) +
                                   ", wanted a power of two from 8 to 1048576");
  }
  GgufWriter text;
  text.add("general.alignment", "32");
  EXPECT_EQ(refusal(text), "key 'general.alignment': found type string, wanted an integer");
}

TEST_F(HostileGguf, is_refused_for_shapes_that_are_none) {
  EXPECT_EQ(tensor_refusal({16}, kF32, 0), "opened");
  EXPECT_EQ(tensor_refusal({}, kF32, 0), "tensor 'w': found 0 dimensions, wanted 1 to 4");
  EXPECT_EQ(tensor_refusal({1, 1, 1, 1, 1}, kF32, 0),
            "tensor 'w': found 5 dimensions, wanted 1 to 4");
  EXPECT_EQ(tensor_refusal({0}, kF32, 0),
            "tensor 'w': found size 0 for dimension 0, wanted 1 to 2^63 - 1");
  EXPECT_EQ(tensor_refusal({1, 1ull << 63}, kF32, 0),
            "tensor 'w': found size 9223372036854775808 for dimension 1, wanted 1 to 2^63 - 1");
  EXPECT_EQ(tensor_refusal({1ull << 32, 1ull << 31}, kF32, 0),
            "tensor 'w': found shape [4294967296, 2147483648], wanted fewer than 2^63 elements and "
            "bytes");
  EXPECT_EQ(
      tensor_refusal({1ull << 62}, kF32, 0),
      "tensor 'w': found shape [4611686018427387904], wanted fewer than 2^63 elements and bytes");
  EXPECT_EQ(
      tensor_refusal({1ull << 62, 1, 1, 4}, kQ8, 0),
      "tensor 'w': found shape [4611686018427387904, 1, 1, 4], wanted fewer than 2^63 elements "
      "and bytes");
  EXPECT_EQ(tensor_refusal({48}, kQ8, 0),
            "tensor 'w': found 48 columns, wanted a multiple of 32 for Q8_0");
}

TEST_F(HostileGguf, is_refused_for_tensor_types_by_name) {
  constexpr std::string_view kWanted =
      "), wanted one of F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL "
      "IQ4_XS MXFP4";
  EXPECT_EQ(tensor_refusal({32}, 40, 0, Code::kUnsupported),
            "tensor 'w': found tensor type 40 (NVFP4" + std::string(kWanted));
  EXPECT_EQ(tensor_refusal({32}, 1000, 0, Code::kUnsupported),
            "tensor 'w': found tensor type 1000 (unknown" + std::string(kWanted));
}

TEST_F(HostileGguf, is_refused_for_bytes_outside_the_file_or_of_another_tensor) {
  EXPECT_EQ(tensor_refusal({4}, kF32, 1), "tensor 'w': found offset 1, wanted a multiple of 32");
  EXPECT_EQ(tensor_refusal({4}, kF32, 64),
            "tensor 'w': found offset 64 (after 64 bytes of header), beyond the file's 128 bytes");
  EXPECT_EQ(tensor_refusal({4}, kF32, ~uint64_t{0} << 5),
            "tensor 'w': found offset 18446744073709551584 (after 64 bytes of header), beyond the "
            "file's 128 bytes");
  EXPECT_EQ(tensor_refusal({17}, kF32, 0),
            "tensor 'w': found 68 bytes from byte 64, beyond the file's 128 bytes");
  EXPECT_EQ(
      tensor_refusal({1ull << 60}, kF32, 32),
      "tensor 'w': found 4611686018427387904 bytes from byte 96, beyond the file's 128 bytes");
  GgufWriter overlap;
  overlap.raw_tensor("b", {8}, kF32, 32);
  overlap.raw_tensor("a", {9}, kF32, 0);
  overlap.raw_data(std::string(64, 'x'));
  EXPECT_EQ(refusal(overlap), "tensor 'b': found offset 32 inside tensor 'a', wanted 36 or more");
  GgufWriter same;
  same.raw_tensor("a", {8}, kF32, 0);
  same.raw_tensor("b", {8}, kF32, 0);
  same.raw_data(std::string(64, 'x'));
  EXPECT_TRUE(refusal(same).ends_with(", wanted 32 or more"));
  GgufWriter no_data;
  no_data.raw_tensor("a", {8}, kF32, 0);
  EXPECT_EQ(refusal(no_data),
            "tensor 'a': found offset 0 (after 64 bytes of header), beyond the file's 57 bytes");
}

TEST_F(HostileGguf, makes_narrow_arrays_no_larger_than_is_allowed) {
  GgufWriter writer;
  const std::vector<uint8_t> bytes((1 << 20) + 1);
  writer.add_array<uint8_t>("large", bytes);
  writer.add_array<uint8_t>("fits", std::span(bytes).first(1 << 20));
  writer.write(path_);
  const Result<Gguf> file = Gguf::open(path_);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->get_ints("fits")->size(), size_t{1} << 20);
  EXPECT_EQ(file->get_ints("large").error().code, Code::kUnsupported);
  EXPECT_EQ(
      file->get_floats("large").error().message,
      path_.string() + ": key 'large': found 1048577 elements of type u8, wanted at most 1048576");
  EXPECT_EQ(file->find("large")->bytes.size(), (size_t{1} << 20) + 1);
}

}  // namespace
}  // namespace ration
