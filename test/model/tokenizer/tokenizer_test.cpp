#include "model/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "test/model/gguf_writer.h"
#include "test/model/tokenizer/corpus.h"
#include "test/model/tokenizer/tiny.h"

namespace ration {
namespace {

using Ids = std::vector<Token>;
constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};
constexpr EncodeOptions kParsed{.add_special = false, .parse_special = true};

Token find(const TokenizerMetadata& metadata, std::string_view text) {
  const auto at = std::find(metadata.tokens.begin(), metadata.tokens.end(), text);
  return at == metadata.tokens.end() ? -1 : static_cast<Token>(at - metadata.tokens.begin());
}

TEST(Tokenizer, recognises_control_tokens_only_where_asked) {
  tiny::Vocabulary made = tiny::bpe();
  const Token end = made.add("<|im_end|>", TokenType::kControl);
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("<|im_end|>", kParsed), Ids{end});
  const Ids plain = tokenizer->encode("<|im_end|>", kPlain);
  EXPECT_EQ(plain.size(), 10u);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), end), 0);
  EXPECT_EQ(tokenizer->decode(plain, false), "<|im_end|>");
  EXPECT_EQ(tokenizer->piece(end, false), "");
  EXPECT_EQ(tokenizer->piece(end, true), "<|im_end|>");
  EXPECT_TRUE(tokenizer->is_control(end));
  EXPECT_TRUE(tokenizer->ends_generation(end));
}

TEST(Tokenizer, recognises_user_defined_tokens_anywhere) {
  tiny::Vocabulary made = tiny::bpe();
  const Token call = made.add("<tool>", TokenType::kUserDefined);
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  const Ids ids = tokenizer->encode("a<tool>b", kPlain);
  ASSERT_EQ(ids.size(), 3u);
  EXPECT_EQ(ids[1], call);
  EXPECT_EQ(tokenizer->decode(ids, false), "a<tool>b");
  EXPECT_FALSE(tokenizer->is_control(call));
}

TEST(Tokenizer, prefers_the_longest_special_token_anywhere_over_the_leftmost) {
  tiny::Vocabulary made = tiny::bpe();
  const Token small = made.add("abc", TokenType::kUserDefined);
  const Token large = made.add("cdef", TokenType::kUserDefined);
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  const Token a = find(made.metadata, "a");
  const Token b = find(made.metadata, "b");
  EXPECT_EQ(tokenizer->encode("abcdef", kPlain), (Ids{a, b, large}));
  EXPECT_EQ(tokenizer->encode("abcabcdef", kPlain), (Ids{small, a, b, large}));
}

TEST(Tokenizer, never_makes_a_control_token_from_text_even_if_the_merges_say_so) {
  tiny::Vocabulary made = tiny::bpe();
  const Token half = made.add("EN");
  const Token end = made.add("END", TokenType::kControl);
  made.merge("E N");
  made.merge("EN D");
  made.metadata.pre = "llama-bpe";  // looks whole words up first
  made.metadata.ids.bos = half;
  const std::unique_ptr<Tokenizer> bpe = corpus::make(made.metadata);
  EXPECT_EQ(bpe->encode("END", kPlain), (Ids{half, find(made.metadata, "D")}));
  EXPECT_EQ(bpe->encode("END", kParsed), Ids{end});

  tiny::Vocabulary spm = tiny::spm();
  const Token slash = spm.add("</", TokenType::kNormal, -1);
  const Token s = spm.add("s", TokenType::kNormal, -9);
  const Token close = spm.add("s>", TokenType::kNormal, -2);
  spm.add("<", TokenType::kNormal, -9);
  spm.add("/", TokenType::kNormal, -9);
  spm.add(">", TokenType::kNormal, -9);
  spm.metadata.add_space_prefix = false;
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(spm.metadata);
  EXPECT_EQ(tokenizer->encode("</s>", kPlain), (Ids{slash, close}));
  EXPECT_EQ(tokenizer->encode("</s>", kParsed), Ids{2});
  EXPECT_EQ(tokenizer->encode("s", kPlain), Ids{s});
}

TEST(Tokenizer, joins_text_across_spans_but_not_special_tokens) {
  tiny::Vocabulary made = tiny::bpe();
  const Token mark = made.add("<|x|>", TokenType::kControl);
  const Token joined = made.add("ab");
  made.merge("a b");
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  const auto span = [](std::string text, bool from_template) {
    return PromptSpan{.text = std::move(text), .from_template = from_template};
  };
  // A cut inside a word, and inside a special token of the template, changes nothing.
  EXPECT_EQ(tokenizer->encode(Prompt{span("a", false), span("b", false)}, false), Ids{joined});
  EXPECT_EQ(tokenizer->encode(Prompt{span("<|", true), span("x|>", true)}, false), Ids{mark});
  // Text of a template and of a user is one text to merge in.
  EXPECT_EQ(tokenizer->encode(Prompt{span("<|x|>a", true), span("b", false)}, false),
            (Ids{mark, joined}));
  // A user cannot complete what the template began, nor write it alone.
  const auto none = [&](const Prompt& prompt) {
    const Ids ids = tokenizer->encode(prompt, false);
    return std::count(ids.begin(), ids.end(), mark) == 0;
  };
  EXPECT_TRUE(none({span("<|", true), span("x|>", false)}));
  EXPECT_TRUE(none({span("<|x", false), span("|>", true)}));
  EXPECT_TRUE(none({span("hi", true), span("<|x|>", false), span("bye", true)}));
  EXPECT_TRUE(tokenizer->encode(Prompt{}, false).empty());
}

TEST(Tokenizer, prefixes_sentence_piece_text_after_special_tokens_only) {
  tiny::Vocabulary made = tiny::spm();
  const Token a = made.add("a", TokenType::kNormal, -5);
  const Token space_a = made.add("\u2581a", TokenType::kNormal, -1);
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->encode("a", {}), (Ids{1, space_a}));
  EXPECT_EQ(tokenizer->encode("aa", kPlain), (Ids{space_a, a}));
  EXPECT_EQ(tokenizer->encode("a</s>a", kParsed), (Ids{space_a, 2, space_a}));
  EXPECT_EQ(tokenizer->encode("", {}), Ids{1});
  EXPECT_EQ(tokenizer->encode("\n", kPlain), (Ids{259, 3 + '\n'}));
}

TEST(Tokenizer, ends_generation_by_id_and_by_known_text) {
  tiny::Vocabulary made = tiny::bpe();
  const Token eot = made.add("<|eot_id|>");  // not even marked as control
  const Token turn = made.add("<end_of_turn>", TokenType::kControl);
  const Token own = made.add("<done>", TokenType::kControl);
  const Token stop = made.add("<stop>", TokenType::kControl);
  const Token other = made.add("<other>", TokenType::kControl);
  made.metadata.ids.eos = own;
  made.metadata.ids.eot = stop;
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  for (const Token token : {eot, turn, own, stop}) EXPECT_TRUE(tokenizer->ends_generation(token));
  EXPECT_FALSE(tokenizer->ends_generation(other));
  EXPECT_FALSE(tokenizer->ends_generation(0));
  EXPECT_TRUE(tokenizer->is_control(eot));
  EXPECT_EQ(tokenizer->eos(), own);
}

TEST(Tokenizer, shows_channel_marks_but_takes_them_from_templates_only) {
  tiny::Vocabulary made = tiny::bpe();
  const Token start = made.add("<|start|>", TokenType::kControl);
  const Token end = made.add("<|end|>", TokenType::kControl);
  made.add("<|return|>", TokenType::kControl);
  made.add("<|call|>", TokenType::kControl);
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  EXPECT_EQ(tokenizer->piece(start, false), "<|start|>");
  EXPECT_FALSE(tokenizer->ends_generation(end));  // one message of several ends here
  EXPECT_EQ(tokenizer->encode("<|start|><|end|>", kParsed), (Ids{start, end}));
  const Ids plain = tokenizer->encode("<|start|><|end|>", kPlain);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), start), 0);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), end), 0);
}

TEST(Tokenizer, strips_white_space_around_the_tokens_that_ask_for_it) {
  tiny::Vocabulary made = tiny::spm();
  made.metadata.name = "Phi-3 mini";
  made.metadata.add_space_prefix = false;
  const Token user = made.add("<|user|>", TokenType::kControl);
  const Token x = made.add("x", TokenType::kNormal, -1);
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  EXPECT_EQ(tokenizer->encode("<|user|> \n\t x<|user|>", kParsed), (Ids{user, x, user}));
  EXPECT_EQ(tokenizer->encode("<s> x", kParsed), (Ids{1, 259, x}));  // <s> does not
}

TEST(Tokenizer, ignores_ids_out_of_range_when_decoding) {
  const tiny::Vocabulary made = tiny::bpe();
  const std::unique_ptr<Tokenizer> tokenizer = corpus::make(made.metadata);
  const Token wild[] = {-1, 1 << 30, 0, INT32_MIN};
  EXPECT_EQ(tokenizer->decode(wild, true), "!");
  EXPECT_FALSE(tokenizer->is_control(-1));
  EXPECT_FALSE(tokenizer->ends_generation(1 << 30));
}

TEST(Tokenizer, reads_its_tables_from_a_file) {
  test::GgufWriter writer;
  writer.add("tokenizer.ggml.model", "llama");
  const tiny::Vocabulary made = tiny::spm();
  std::vector<std::string> tokens(made.metadata.tokens.begin(), made.metadata.tokens.end());
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  writer.add_u32("tokenizer.ggml.eos_token_id", 0);
  writer.add_bool("tokenizer.ggml.add_eos_token", true);
  const auto path = std::filesystem::path(RATION_BINARY_DIR) / "tokenizer_test.gguf";
  writer.write(path);
  Result<Gguf> file = Gguf::open(path);
  ASSERT_TRUE(file) << file.error().message;
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::make(*file);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->size(), 260);
  EXPECT_EQ((*tokenizer)->encode("", {}), (Ids{1, 0}));
  EXPECT_EQ((*tokenizer)->description(), "SPM");
  std::filesystem::remove(path);
}

// A letter many times must cost about as many steps: quadratic work would take minutes. Processor
// time, so that a busy machine changes nothing.
TEST(Tokenizer, stays_linear_on_long_runs) {
  const std::vector<std::string> names = corpus::vocabulary_names();
  if (names.empty() && corpus::offline()) GTEST_SKIP() << "vocabularies were never fetched";
  for (const char* name : {"ggml-vocab-llama-bpe", "ggml-vocab-llama-spm", "ggml-vocab-gemma-4",
                           "ggml-vocab-bert-bge", "ggml-vocab-deepseek-llm"}) {
    const corpus::Opened* opened = corpus::open(name);
    ASSERT_NE(opened, nullptr);
    for (const char c : {'a', ' ', '\n', '\xff', '1'}) {
      const std::clock_t start = std::clock();
      const Ids ids = opened->tokenizer->encode(std::string(1 << 18, c), kParsed);
      const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
      EXPECT_LT(seconds, 15.0) << name << " " << static_cast<int>(c);
      EXPECT_LE(ids.size(), size_t{3} << 18);
    }
  }
}

// In no real vocabulary can a text spell a control token.
TEST(Tokenizer, keeps_every_control_token_of_every_vocabulary_out_of_plain_text) {
  const std::vector<std::string> names = corpus::vocabulary_names();
  if (names.empty() && corpus::offline()) GTEST_SKIP() << "vocabularies were never fetched";
  size_t tried = 0;
  for (const std::string& name : names) {
    const corpus::Opened* opened = corpus::open(name);
    ASSERT_NE(opened, nullptr);
    const Tokenizer* tokenizer = opened->tokenizer.get();
    for (Token token = 0; token < tokenizer->size(); ++token) {
      if (!tokenizer->is_control(token)) continue;
      ++tried;
      const std::string text = "a" + std::string(tokenizer->piece(token, true)) + " ";
      for (const Token id : tokenizer->encode(text, kPlain)) {
        ASSERT_FALSE(tokenizer->is_control(id)) << name << " " << text;
      }
    }
  }
  EXPECT_GE(tried, 400u);
}

}  // namespace
}  // namespace ration
