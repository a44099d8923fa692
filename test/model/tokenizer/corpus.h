// What the tokenizer tests compare with: texts.txt, llama.cpp's ids in expected.bin, and the folder
// that test/fetch_vocabularies.sh fills.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "model/tokenizer/metadata.h"
#include "model/tokenizer/tokenizer.h"

namespace ration::corpus {

struct Text {
  bool special = false;  // add_special and parse_special
  std::string text;
};
std::vector<Text> read_texts();

// One vocabulary as llama.cpp was asked about it.
struct Set {
  std::string file;  // "ggml-vocab-gpt-2", "smollm2-135m"
  std::string pre;   // "-" for the file's own
  std::string model;
  // One answer a text; nullopt where llama.cpp aborts.
  std::vector<std::optional<std::vector<Token>>> answers;
};
std::vector<Set> read_expected();

// ${RATION_TEST_CACHE:-~/.cache/ration/test}
std::filesystem::path test_cache();
// Where the file of that name is: a vocabulary below test_cache(), a model in the folder that
// RATION_TEST_MODELS names or among those pulled. nullopt when it is not there.
std::optional<std::filesystem::path> find_file(const std::string& name);
// Every ggml-vocab-*.gguf, by name; empty when they were never fetched.
std::vector<std::string> vocabulary_names();
// RATION_OFFLINE_TESTS=1: what could not be fetched is skipped.
bool offline();

// A file with its metadata, and the tokenizer they make. Kept until the program ends.
struct Opened {
  std::unique_ptr<Gguf> file;
  TokenizerMetadata metadata;  // points into the file
  std::unique_ptr<Tokenizer> tokenizer;
};
// nullptr, and the running test fails, when the file is missing or refused.
const Opened* open(const std::string& name);
std::unique_ptr<Tokenizer> make(const TokenizerMetadata& metadata);  // the same

// A random text of valid UTF-8: letters of a few scripts, ASCII, spaces, any code point
// below `points_end`.
std::string random_text(Rng& rng, size_t points_max, uint32_t points_end);

// `ids` with the difference marked, for failure messages.
std::string show(const Tokenizer& tokenizer, const std::vector<Token>& ids);

}  // namespace ration::corpus
