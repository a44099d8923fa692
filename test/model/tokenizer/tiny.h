// Small vocabularies for tests, made in place.
#pragma once

#include <initializer_list>
#include <list>
#include <string>
#include <string_view>

#include "model/tokenizer/metadata.h"

namespace ration::tiny {

// Owns the texts that the metadata points into.
struct Vocabulary {
  TokenizerMetadata metadata;
  std::list<std::string> texts;

  Token add(std::string_view text, TokenType type = TokenType::kNormal, float score = 0) {
    texts.emplace_back(text);
    metadata.tokens.push_back(texts.back());
    metadata.types.push_back(type);
    metadata.scores.push_back(score);
    return static_cast<Token>(metadata.tokens.size()) - 1;
  }
  void merge(std::string_view pair) {
    texts.emplace_back(pair);
    metadata.merges.push_back(texts.back());
    metadata.has_merges = true;
  }
};

// "gpt2" with one token for each printable ASCII character, the space and the newline.
inline Vocabulary bpe() {
  Vocabulary made;
  made.metadata.model = "gpt2";
  made.metadata.pre = "gpt-2";
  made.metadata.has_merges = true;
  for (char c = '!'; c <= '~'; ++c) made.add({&c, 1});
  made.add("\u0120");  // space
  made.add("\u010a");  // newline
  return made;
}

// "llama" with <unk> <s> </s>, 256 byte tokens and the escaped space.
inline Vocabulary spm() {
  Vocabulary made;
  made.metadata.model = "llama";
  made.add("<unk>", TokenType::kUnknown);
  made.add("<s>", TokenType::kControl);
  made.add("</s>", TokenType::kControl);
  constexpr char kHex[] = "0123456789ABCDEF";
  for (size_t byte = 0; byte < 256; ++byte) {
    made.add(std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + '>', TokenType::kByte);
  }
  made.add("\u2581", TokenType::kNormal, -1000);
  return made;
}

}  // namespace ration::tiny
