// decode(encode(x)) == x for random Unicode, in every family that keeps its input.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "test/model/tokenizer/corpus.h"

namespace ration {
namespace {

// Strings in all, over the vocabularies; the slow test asks for more.
size_t string_count() {
  const char* value = std::getenv("RATION_ROUND_TRIPS");
  return value == nullptr ? 5000 : std::strtoull(value, nullptr, 10);
}

// SPM writes spaces as U+2581, so that one is read back as a space.
std::string without_escapes(std::string text) {
  for (size_t at = 0; (at = text.find("\u2581", at)) != std::string::npos;)
    text.replace(at, 3, " ");
  return text;
}

// The vocabularies of these lack tokens for the bytes F1 to F4, with which later planes begin.
uint32_t points_end(const std::string& name) {
  for (const char* part : {"falcon", "refact", "starcoder"}) {
    if (name.find(part) != std::string::npos) return 0x40000;
  }
  return 0x110000;
}

// Control characters for whose byte the vocabulary has no token: nothing can spell them.
std::string unspellable(const Tokenizer& tokenizer) {
  std::string characters;
  for (char c = 1; c < ' '; ++c) {
    const std::string alone(1, c);
    if (tokenizer.decode(tokenizer.encode(alone, {.add_special = false}), true).empty()) {
      characters += c;
    }
  }
  return characters;
}

void round_trip(const std::string& name, size_t count, uint64_t seed, size_t& done) {
  const corpus::Opened* opened = corpus::open(name);
  ASSERT_NE(opened, nullptr);
  const Tokenizer& tokenizer = *opened->tokenizer;
  const bool spm = tokenizer.description() == "SPM";
  const bool raw = tokenizer.description() == "BPE gemma4";
  const bool prefixed = spm && opened->metadata.add_space_prefix.value_or(true);
  const std::string dropped = unspellable(tokenizer);
  EXPECT_TRUE(dropped.empty() || points_end(name) < 0x110000) << name;
  Rng rng(seed);
  for (size_t i = 0; i < count; ++i, ++done) {
    std::string text = corpus::random_text(rng, 40, points_end(name));
    std::erase_if(text, [&](char c) { return dropped.find(c) != std::string::npos; });
    const std::string back = tokenizer.decode(tokenizer.encode(text, {.add_special = false}), true);
    const std::string wanted = spm || raw ? without_escapes(text) : text;
    // A text that begins with a special token has no space in front.
    if (prefixed && back == " " + wanted) continue;
    ASSERT_EQ(back, wanted) << name << " " << i;
  }
}

TEST(RoundTrip, gives_back_any_unicode_text) {
  const std::vector<std::string> names = corpus::vocabulary_names();
  if (names.empty() && corpus::offline()) GTEST_SKIP() << "vocabularies were never fetched";
  ASSERT_FALSE(names.empty()) << "run test/fetch_vocabularies.sh";
  std::vector<std::string> lossless;
  for (const std::string& name : names) {
    // BERT folds case and drops what it does not know; so does XLM-R.
    if (name.find("bert") == std::string::npos) lossless.push_back(name);
  }
  size_t done = 0;
  const size_t each = (string_count() + lossless.size() - 1) / lossless.size();
  for (size_t i = 0; i < lossless.size(); ++i) round_trip(lossless[i], each, i + 1, done);
  std::printf("round trips: %zu texts in %zu vocabularies\n", done, lossless.size());
}

}  // namespace
}  // namespace ration
