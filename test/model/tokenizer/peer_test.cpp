// The gate: our ids are llama.cpp's, for every vocabulary in its source package, for three real
// models, and for every pre-tokeniser name.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "base/file.h"
#include "test/model/tokenizer/corpus.h"

namespace ration {
namespace {

// What llama.cpp's package holds; fewer means that something is missing.
constexpr size_t kVocabularyCount = 19;

// "" when equal, else the first text that differs.
std::string compare(const Tokenizer& tokenizer, const corpus::Set& set,
                    const std::vector<corpus::Text>& texts, size_t& compared) {
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!set.answers[i]) continue;
    const std::vector<Token> ids = tokenizer.encode(
        texts[i].text, {.add_special = texts[i].special, .parse_special = texts[i].special});
    ++compared;
    if (ids == *set.answers[i]) continue;
    return fmt::format("text {} of {} (pre {}, model {}) '{}': found{}, wanted{}", i + 1, set.file,
                       set.pre, set.model, texts[i].text, corpus::show(tokenizer, ids),
                       corpus::show(tokenizer, *set.answers[i]));
  }
  return "";
}

// Compares the sets for which `chosen` holds; prints how many.
template <class Chosen>
void compare_sets(const char* what, const Chosen& chosen) {
  const std::vector<corpus::Text> texts = corpus::read_texts();
  size_t sets = 0;
  size_t compared = 0;
  size_t missing = 0;
  for (const corpus::Set& set : corpus::read_expected()) {
    if (!chosen(set)) continue;
    ASSERT_EQ(set.answers.size(), texts.size());
    if (!corpus::find_file(set.file)) {
      ++missing;
      continue;
    }
    const corpus::Opened* opened = corpus::open(set.file);
    ASSERT_NE(opened, nullptr);
    TokenizerMetadata metadata = opened->metadata;
    if (set.pre != "-") metadata.pre = set.pre;
    if (set.model != "-") metadata.model = set.model;
    const bool own = set.pre == "-" && set.model == "-";
    const std::unique_ptr<Tokenizer> changed = own ? nullptr : corpus::make(metadata);
    ASSERT_TRUE(own || changed) << set.file;
    EXPECT_EQ(compare(own ? *opened->tokenizer : *changed, set, texts, compared), "");
    ++sets;
  }
  std::printf("%s: %zu sets equal in %zu texts, %zu skipped\n", what, sets, compared, missing);
  if (missing > 0 && !corpus::offline()) {
    ADD_FAILURE() << missing << " files are missing below " << corpus::test_cache()
                  << ": run test/fetch_vocabularies.sh, or set RATION_OFFLINE_TESTS=1 to skip them";
  } else if (missing > 0) {
    GTEST_SKIP() << missing << " files were never fetched";
  }
}

bool is_vocabulary(const corpus::Set& set) { return set.file.starts_with("ggml-vocab-"); }

TEST(PeerIds, are_equal_for_every_vocabulary_of_the_package) {
  compare_sets("vocabularies",
               [](const corpus::Set& set) { return is_vocabulary(set) && set.pre == "-"; });
}

TEST(PeerIds, are_equal_for_every_pre_tokeniser_name) {
  compare_sets("pre-tokenisers", [](const corpus::Set& set) { return set.pre != "-"; });
}

TEST(PeerIds, are_equal_for_real_models) {
  size_t missing = 0;
  for (const corpus::Set& set : corpus::read_expected()) {
    if (!is_vocabulary(set) && !corpus::find_file(set.file)) ++missing;
  }
  if (missing > 0) GTEST_SKIP() << missing << " of 3 models are not on this machine: ration pull";
  compare_sets("models", [](const corpus::Set& set) { return !is_vocabulary(set); });
}

// The package's own pairs: texts between marks, and a line of ids each.
TEST(PeerIds, are_those_the_package_itself_lists) {
  const std::vector<std::string> names = corpus::vocabulary_names();
  if (names.empty() && corpus::offline()) GTEST_SKIP() << "vocabularies were never fetched";
  ASSERT_EQ(names.size(), kVocabularyCount) << "run test/fetch_vocabularies.sh";
  size_t pairs = 0;
  size_t lines = 0;
  for (const std::string& name : names) {
    const std::string base = corpus::find_file(name)->string();
    if (!std::filesystem::exists(base + ".inp")) continue;
    const Result<std::string> texts = read_file(base + ".inp", Bytes{kMiB});
    ASSERT_TRUE(texts);
    std::ifstream ids_file(base + ".out");
    const corpus::Opened* opened = corpus::open(name);
    ASSERT_NE(opened, nullptr);
    constexpr std::string_view kMark = "\n__ggml_vocab_test__\n";
    std::string_view rest = *texts;
    for (std::string line; std::getline(ids_file, line); ++lines) {
      const size_t end = std::min(rest.find(kMark), rest.size());
      const std::string_view text = rest.substr(0, end);
      rest.remove_prefix(std::min(end + kMark.size(), rest.size()));
      std::vector<Token> wanted;
      std::istringstream numbers(line);
      for (Token id = 0; numbers >> id;) wanted.push_back(id);
      EXPECT_EQ(opened->tokenizer->encode(text, {.add_special = false}), wanted)
          << name << ": " << text;
    }
    EXPECT_TRUE(rest.empty()) << name;
    ++pairs;
  }
  std::printf("package: %zu pairs of files equal in %zu lines\n", pairs, lines);
  EXPECT_GE(pairs, 14u);
}

}  // namespace
}  // namespace ration
