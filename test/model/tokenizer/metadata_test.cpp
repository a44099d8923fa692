// Tables that contradict themselves are refused by name.
#include "model/tokenizer/metadata.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/tokenizer/pre_tokenizer.h"
#include "test/model/tokenizer/tiny.h"

namespace ration {
namespace {

void expect_error(const TokenizerMetadata& metadata, Code code, std::string_view part) {
  const Result<std::unique_ptr<Tokenizer>> made = make_tokenizer(metadata);
  ASSERT_FALSE(made) << "wanted an error with " << part;
  EXPECT_EQ(made.error().code, code);
  EXPECT_NE(made.error().message.find(part), std::string::npos) << made.error().message;
}

TEST(TokenizerMetadata, names_a_model_or_pre_tokeniser_it_does_not_know) {
  tiny::Vocabulary made = tiny::bpe();
  made.metadata.pre = "llama-bqe";
  expect_error(made.metadata, Code::kUnsupported, "'llama-bqe'");
  expect_error(made.metadata, Code::kUnsupported, "llama-bpe");  // what is near it
  made.metadata.model = "rwkv";
  expect_error(made.metadata, Code::kUnsupported, "found 'rwkv'");
}

TEST(TokenizerMetadata, knows_each_pre_tokeniser_name_once) {
  const std::span<const PreTokenizer> rows = pre_tokenizers();
  EXPECT_GE(rows.size(), 91u);
  for (const PreTokenizer& row : rows) EXPECT_EQ(find_pre_tokenizer(row.name), &row) << row.name;
  EXPECT_EQ(find_pre_tokenizer("")->name, "default");
}

TEST(TokenizerMetadata, refuses_tables_of_unequal_length) {
  tiny::Vocabulary made = tiny::spm();
  made.metadata.scores.pop_back();
  expect_error(made.metadata, Code::kCorrupt, "found 259, wanted 260");
  made = tiny::spm();
  made.metadata.types.pop_back();
  expect_error(made.metadata, Code::kCorrupt, "token_type: found 259, wanted 260");
  made = tiny::spm();
  made.metadata.tokens.clear();
  expect_error(made.metadata, Code::kCorrupt, "found 0 tokens");
}

TEST(TokenizerMetadata, refuses_ids_outside_of_the_vocabulary) {
  for (const Token id : {-2, 260, 1 << 30}) {
    tiny::Vocabulary made = tiny::spm();
    made.metadata.ids.eot = id;
    expect_error(made.metadata, Code::kCorrupt, "eot_token_id");
  }
}

TEST(TokenizerMetadata, refuses_bad_scores_tokens_and_merges) {
  tiny::Vocabulary made = tiny::spm();
  made.metadata.scores[7] = NAN;
  expect_error(made.metadata, Code::kCorrupt, "token 7");
  made = tiny::spm();
  made.add("<s>");
  expect_error(made.metadata, Code::kCorrupt, "found tokens 1 and 260 with one text");
  made = tiny::spm();
  made.add("<0x1>", TokenType::kByte);
  expect_error(made.metadata, Code::kCorrupt, "'<0x1>'");
  for (const char* merge : {"", " ", "ab", "a ", " ab"}) {
    made = tiny::bpe();
    made.merge(merge);
    expect_error(made.metadata, Code::kCorrupt, "merge 0");
  }
  made = tiny::bpe();
  made.metadata.has_merges = false;
  expect_error(made.metadata, Code::kCorrupt, "tokenizer.ggml.merges is missing");
}

TEST(TokenizerMetadata, refuses_a_rule_that_adds_a_token_which_is_not_there) {
  tiny::Vocabulary made;
  made.metadata.model = "gpt2";
  made.metadata.has_merges = true;
  made.metadata.add_bos = true;
  made.add("a");
  expect_error(made.metadata, Code::kCorrupt, "bos");
  made.metadata.model = "bert";
  expect_error(made.metadata, Code::kCorrupt, "unknown_token_id");
}

TEST(TokenizerMetadata, refuses_a_charsmap_with_wild_lengths) {
  tiny::Vocabulary made = tiny::spm();
  made.metadata.model = "t5";
  const auto with = [&](std::initializer_list<uint8_t> octets) {
    made.texts.emplace_back();
    for (const uint8_t octet : octets) made.texts.back() += static_cast<char>(octet);
    made.metadata.charsmap = std::as_bytes(std::span(made.texts.back()));
    return made.metadata;
  };
  expect_error(with({1, 2, 3}), Code::kCorrupt, "found 3 bytes");
  expect_error(with({255, 255, 255, 255, 0, 0}), Code::kCorrupt, "found a trie of 4294967295");
  expect_error(with({2, 0, 0, 0, 0, 0, 0, 0}), Code::kCorrupt, "found a trie of 2");
  expect_error(with({0, 0, 0, 0, 'x'}), Code::kCorrupt, "without an end");
  EXPECT_TRUE(make_tokenizer(with({4, 0, 0, 0, 0, 255, 255, 127, 0})));
}

}  // namespace
}  // namespace ration
