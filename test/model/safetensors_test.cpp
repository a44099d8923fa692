// Models as safetensors with files beside them: read as a GGUF file of the same model would be, and
// each kind of broken header or folder refused with what was found.
#include "model/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/json.h"
#include "model/arch/arch.h"
#include "model/gguf.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

const fs::path kTiny = fs::path(RATION_SOURCE_DIR) / "data" / "tiny";

// A file of this header and so many bytes of data, at an address as a mapping has it.
struct Bytes64 {
  explicit Bytes64(std::string_view header, size_t data_bytes,
                   std::optional<uint64_t> length = {}) {
    const uint64_t stated = length.value_or(header.size());
    words.resize((8 + header.size() + data_bytes + 7) / 8 + 1);
    size = 8 + header.size() + data_bytes;
    std::memcpy(words.data(), &stated, 8);
    std::memcpy(reinterpret_cast<char*>(words.data()) + 8, header.data(), header.size());
  }
  std::span<const std::byte> span() const { return std::as_bytes(std::span(words)).first(size); }
  std::vector<uint64_t> words;
  size_t size;
};

// Padded with spaces, so that the data begins at a multiple of 8.
std::string padded(std::string header) {
  header.append((8 - header.size() % 8) % 8, ' ');
  return header;
}

std::string refusal(const std::string& header, size_t data_bytes, Code code = Code::kCorrupt) {
  const Bytes64 file(padded(header), data_bytes);
  const Result<std::vector<GgufTensor>> tensors = read_safetensors(file.span());
  if (tensors) return "read";
  EXPECT_EQ(tensors.error().code, code);
  return tensors.error().message;
}

TEST(Safetensors, have_their_names_types_shapes_and_bytes) {
  const std::string header =
      padded(R"({"__metadata__":{"format":"pt"},)"
             R"("b":{"dtype":"F16","shape":[3],"data_offsets":[24,30]},)"
             R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
             R"("x.position_ids":{"dtype":"I64","shape":[1],"data_offsets":[32,40]},)"
             R"("c":{"dtype":"BF16","shape":[1],"data_offsets":[30,32]}})");
  const Bytes64 file(header, 40);
  const Result<std::vector<GgufTensor>> tensors = read_safetensors(file.span());
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 3u);
  const std::byte* data = file.span().data() + 8 + header.size();
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[0].dtype, DType::kF32);
  EXPECT_EQ((*tensors)[0].shape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ((*tensors)[0].bytes.data(), data);
  EXPECT_EQ((*tensors)[1].name, "b");
  EXPECT_EQ((*tensors)[1].bytes.data(), data + 24);
  EXPECT_EQ((*tensors)[1].bytes.size(), 6u);
  EXPECT_EQ((*tensors)[2].dtype, DType::kBF16);
}

TEST(Safetensors, refuse_headers_that_are_cut_too_long_or_no_json) {
  const std::string header = padded(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})");
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40, ~uint64_t{0}}) {
    const Bytes64 file(header, 4, length);
    const auto tensors = read_safetensors(file.span());
    ASSERT_FALSE(tensors);
    EXPECT_NE(tensors.error().message.find("found a length of"), std::string::npos);
  }
  EXPECT_FALSE(read_safetensors(Bytes64(header, 4).span().first(5)));
  EXPECT_NE(refusal(R"({"a":)", 4).find("not valid JSON"), std::string::npos);
  EXPECT_EQ(refusal("[1]", 4), "header: found no object");
  EXPECT_NE(refusal("{" + std::string(20000, ':') + "}", 4).find("more than 4096 tensors"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"a":[[[[[[1]]]]]]})", 4).find("nested deeper"), std::string::npos);
}

TEST(Safetensors, refuse_tensors_that_are_not_where_or_what_they_say) {
  const auto tensor = [](std::string_view dtype, std::string_view shape, std::string_view offsets) {
    return std::string(R"({"a":{"dtype":")") + std::string(dtype) + R"(","shape":)" +
           std::string(shape) + R"(,"data_offsets":)" + std::string(offsets) + "}}";
  };
  EXPECT_EQ(refusal(tensor("F32", "[2]", "[0,8]"), 8), "read");
  EXPECT_EQ(refusal(tensor("I8", "[8]", "[0,8]"), 8, Code::kUnsupported),
            "tensor 'a': found dtype 'I8', wanted F32, F16 or BF16");
  EXPECT_EQ(refusal(tensor("F32", "[2]", "[4,12]"), 8),
            "tensor 'a': 'data_offsets': wanted a beginning and an end within 8");
  EXPECT_EQ(refusal(tensor("F32", "[2]", "[8,0]"), 8),
            "tensor 'a': 'data_offsets': wanted a beginning and an end within 8");
  EXPECT_EQ(refusal(tensor("F32", "[3]", "[0,8]"), 8),
            "tensor 'a': 'data_offsets': found 8 bytes, wanted 12 for the shape");
  EXPECT_EQ(refusal(tensor("F32", "[1]", "[2,6]"), 8, Code::kUnsupported),
            "tensor 'a': found it at no multiple of 4");
  for (const char* shape : {"[]", "[0]", "[-1]", "[1.5]", "3", "[1,1,1,1,1]",
                            "[4611686018427387904,4]", "[9007199254740992,9007199254740992]"}) {
    EXPECT_NE(refusal(tensor("F32", shape, "[0,8]"), 8).find("'shape'"), std::string::npos)
        << shape;
  }
  for (const char* offsets : {"[0]", "8", "[0,18446744073709551615]", "[-8,0]", "[0,\"8\"]"}) {
    EXPECT_NE(refusal(tensor("F32", "[2]", offsets), 8).find("'data_offsets'"), std::string::npos)
        << offsets;
  }
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                    R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                    8),
            "tensor 'b': found it inside tensor 'a'");
}

TEST(SafetensorsFolder, is_read_as_a_gguf_file_of_the_same_model_would_be) {
  const Result<Gguf> folder = Gguf::open(kTiny / "bert");
  const Result<Gguf> file = Gguf::open(kTiny / "bert.gguf");
  ASSERT_TRUE(folder && file) << folder.error().message;
  for (const char* key : {"bert.embedding_length", "bert.block_count", "bert.context_length",
                          "bert.feed_forward_length", "bert.attention.head_count",
                          "bert.pooling_type", "tokenizer.ggml.bos_token_id",
                          "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.unknown_token_id"}) {
    EXPECT_EQ(folder->get_int(key).value(), file->get_int(key).value()) << key;
  }
  EXPECT_EQ(folder->get_strings("tokenizer.ggml.tokens").value(),
            file->get_strings("tokenizer.ggml.tokens").value());
  EXPECT_EQ(folder->get_ints("tokenizer.ggml.token_type").value(),
            file->get_ints("tokenizer.ggml.token_type").value());
  ASSERT_EQ(folder->tensors().size(), file->tensors().size());
  for (const GgufTensor& tensor : file->tensors()) {
    const GgufTensor* same = folder->find_tensor(tensor.name);
    ASSERT_NE(same, nullptr) << tensor.name;
    // Of the places only those of the context are in the GGUF file.
    const size_t bytes = tensor.bytes.size();
    ASSERT_GE(same->bytes.size(), bytes) << tensor.name;
    EXPECT_EQ(std::memcmp(same->bytes.data(), tensor.bytes.data(), bytes), 0) << tensor.name;
  }
}

TEST(SafetensorsFolder, has_the_words_of_berts_own_tokenizer) {
  const Result<Gguf> folder = Gguf::open(kTiny / "bert" / "model.safetensors");
  ASSERT_TRUE(folder) << folder.error().message;
  const auto tokenizer = Tokenizer::make(*folder);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const Result<std::string> text = read_file(kTiny / "bert.json", Bytes{kMiB});
  const Result<Json> json = parse_json(*text);
  ASSERT_TRUE(json);
  for (const Json& one : (*json)["texts"]) {
    const auto words = one["text"].get<std::string>();
    EXPECT_EQ((*tokenizer)->encode(words, EncodeOptions{}), one["ids"].get<std::vector<Token>>())
        << words;
  }
}

class BrokenFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("ration_folder_test." + std::to_string(getpid()));
    fs::remove_all(folder_);
    fs::copy(kTiny / "bert", folder_, fs::copy_options::recursive);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void put(const char* name, std::string_view content) {
    ASSERT_TRUE(write_file_atomically(folder_ / name, content));
  }
  // With `from` in a file replaced.
  void change(const char* name, std::string_view from, std::string_view to) {
    Result<std::string> content = read_file(folder_ / name, Bytes{kMiB});
    ASSERT_TRUE(content);
    const size_t at = content->find(from);
    ASSERT_NE(at, std::string::npos) << from;
    content->replace(at, from.size(), to);
    put(name, *content);
  }
  // Of the whole way: folder, network, tokenizer.
  std::string refusal(Code code) {
    const auto say = [&](const Error& error) {
      EXPECT_EQ(error.code, code) << error.message;
      return error.message;
    };
    const Result<Gguf> file = Gguf::open(folder_);
    if (!file) return say(file.error());
    const Result<Network> network = load_network(*file);
    if (!network) return say(network.error());
    const auto tokenizer = Tokenizer::make(*file);
    return tokenizer ? "opened" : say(tokenizer.error());
  }
  void expect(Code code, std::string_view part) {
    const std::string message = refusal(code);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }

  fs::path folder_;
};

TEST_F(BrokenFolder, names_the_file_that_is_missing) {
  fs::remove(folder_ / "vocab.txt");
  expect(Code::kNotFound, "there is no vocab.txt");
  fs::remove(folder_ / "config.json");
  expect(Code::kNotFound, "there is no config.json");
  fs::remove(folder_ / "model.safetensors");
  EXPECT_EQ(Gguf::open(folder_).error().code, Code::kInvalid);
}

TEST_F(BrokenFolder, needs_only_weights_config_and_vocabulary) {
  for (const char* name : {"modules.json", "1_Pooling/config.json", "tokenizer_config.json",
                           "sentence_bert_config.json"}) {
    fs::remove(folder_ / name);
  }
  EXPECT_EQ(refusal(Code::kCorrupt), "opened");
  EXPECT_EQ(Gguf::open(folder_)->get_int("bert.context_length").value(), 450);
}

TEST_F(BrokenFolder, is_refused_for_another_family_activation_or_module) {
  change("config.json", "\"gelu\"", "\"relu\"");
  expect(Code::kUnsupported, "'hidden_act' is 'relu', wanted 'gelu'");
  change("config.json", "\"bert\"", "\"roberta\"");
  expect(Code::kUnsupported, "found the model type 'roberta', wanted 'bert'");
  change("config.json", "\"roberta\"", "7");
  expect(Code::kUnsupported, "wanted 'bert'");
}

TEST_F(BrokenFolder, is_refused_for_modules_that_we_do_not_have) {
  change("modules.json", "models.Normalize", "models.Dense");
  expect(Code::kUnsupported, "sentence_transformers.models.Dense");
  put("modules.json", R"([{"type": "a.Pooling", "path": "../../etc"}])");
  expect(Code::kCorrupt, "is not one of the folder");
  put("modules.json", R"([{"type": "a.Pooling", "path": ""}])");
  expect(Code::kCorrupt, "is not one of the folder");
}

TEST_F(BrokenFolder, names_its_pooling_in_the_old_way_or_the_new) {
  for (const auto& [config, type] : {std::pair{R"({"pooling_mode": "cls"})", 2},
                                     {R"({"pooling_mode": ["lasttoken"]})", 3},
                                     {R"({"pooling_mode_cls_token": true})", 2},
                                     {R"({"pooling_mode_cls_token": false})", 1},
                                     {"{}", 1}}) {
    put("1_Pooling/config.json", config);
    EXPECT_EQ(Gguf::open(folder_)->get_int("bert.pooling_type").value(), type) << config;
  }
}

TEST_F(BrokenFolder, is_refused_for_a_pooling_that_we_do_not_have) {
  put("1_Pooling/config.json", R"({"pooling_mode_max_tokens": true})");
  expect(Code::kUnsupported, "found the pooling 'max_tokens'");
  put("1_Pooling/config.json", R"({"pooling_mode": ["mean", "max"]})");
  expect(Code::kUnsupported, "found the pooling 'mean + max'");
  put("1_Pooling/config.json",
      R"({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})");
  expect(Code::kUnsupported, "'mean_tokens + cls_token'");
}

TEST_F(BrokenFolder, is_refused_for_sizes_that_the_weights_do_not_have) {
  change("config.json", "\"hidden_size\": 24", "\"hidden_size\": 36");
  expect(Code::kCorrupt, "wanted");
  change("config.json", "\"hidden_size\": 36", "\"hidden_size\": -1");
  expect(Code::kCorrupt, "'hidden_size' is no number");
  change("config.json", "\"hidden_size\": -1,", "");
  expect(Code::kCorrupt, "'hidden_size' is no number");
}

TEST_F(BrokenFolder, is_refused_for_tensors_that_would_be_ignored) {
  // The head of a cross-encoder: without it the numbers would mean nothing.
  change("model.safetensors", "pooler.dense.weight", "classifier_x.weight");
  expect(Code::kUnsupported, "tensor 'classifier_x.weight' is not part of family bert");
}

TEST_F(BrokenFolder, is_refused_where_json_or_vocabulary_are_damaged) {
  put("vocab.txt", "[UNK]\nword\nword\n");
  expect(Code::kCorrupt, "one text");
  put("vocab.txt", "");
  expect(Code::kCorrupt, "found 0 tokens");
  put("config.json", "{");
  expect(Code::kCorrupt, "config.json: not valid JSON");
}

}  // namespace
}  // namespace ration
