// Any bytes as one of the files of a safetensors folder, the others being good: an Error or a model
// whose tensors lie in the file. The first byte says which file; 0 and what is not in the list are
// the weights.
#include <stdlib.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/text.h"
#include "model/arch/arch.h"
#include "model/gguf.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 7> kFiles{"model.safetensors",
                                            "config.json",
                                            "vocab.txt",
                                            "modules.json",
                                            "1_Pooling/config.json",
                                            "tokenizer_config.json",
                                            "sentence_bert_config.json"};

// Good files, enough for a model of one layer without its weights.
constexpr std::string_view kConfig =
    R"({"model_type":"bert","hidden_size":8,"num_hidden_layers":1,"num_attention_heads":2,)"
    R"("intermediate_size":8,"max_position_embeddings":8})";

struct Folder {
  fs::path path;

  Folder() {
    std::string name = (fs::temp_directory_path() / "ration_safetensors_fuzz.XXXXXX").string();
    CHECK(::mkdtemp(name.data()) != nullptr);
    path = name;
    fs::create_directory(path / "1_Pooling");
    for (size_t i = 0; i < kFiles.size(); ++i) restore(i);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  void write(size_t which, std::string_view content) const {
    std::ofstream(path / kFiles[which], std::ios::binary | std::ios::trunc) << content;
  }
  void restore(size_t which) const {
    using namespace std::string_view_literals;
    constexpr std::array<std::string_view, 7> kGood{"\x08\0\0\0\0\0\0\0{}      "sv,
                                                    kConfig,
                                                    "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n"sv,
                                                    "[]"sv,
                                                    "{}"sv,
                                                    "{}"sv,
                                                    "{}"sv};
    write(which, kGood[which]);
  }
};

template <class T>
void check_refusal(const Result<T>& result) {
  if (result) return;
  CHECK(result.error().code != Code::kIo && is_valid_utf8(result.error().message));
}

void try_folder(const fs::path& path) {
  const Result<Gguf> file = Gguf::open(path);
  check_refusal(file);
  if (!file) return;
  int64_t sum = 0;
  for (const GgufTensor& tensor : file->tensors()) {
    CHECK(tensor.matrix().bytes() == static_cast<int64_t>(tensor.bytes.size()));
    // Outside the mapping these would fault.
    const volatile std::byte first = tensor.bytes.front();
    const volatile std::byte last = tensor.bytes.back();
    static_cast<void>(first);
    static_cast<void>(last);
    sum += tensor.matrix().bytes();
  }
  CHECK(sum == file->tensor_bytes().count && sum <= file->file_bytes().count);
  check_refusal(load_network(*file));
  const auto tokenizer = Tokenizer::make(*file);
  check_refusal(tokenizer);
  if (tokenizer) CHECK(!(*tokenizer)->encode("ab \xed\x95\x9c, c", EncodeOptions{}).empty());
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ration::Folder folder;
  if (size == 0) return 0;
  const size_t which = data[0] < ration::kFiles.size() ? data[0] : 0;
  folder.write(which, {reinterpret_cast<const char*>(data) + 1, size - 1});
  ration::try_folder(folder.path);
  folder.restore(which);
  return 0;
}
