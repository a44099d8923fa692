// model/tokenizer/family.h - what all tokenizer families share: special tokens, BOS and EOS,
// pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer/metadata.h"
#include "model/tokenizer/special.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/vocabulary.h"

namespace ration {

// What a family decides before its object is made.
struct FamilyOptions {
  std::string description;
  bool adds_bos = false;        // the front token is bos,
  bool adds_eos = false;        // the back token eos
  bool adds_separator = false;  // or, for WPM, the separator
};

class FamilyTokenizer : public Tokenizer {
 public:
  // kCorrupt when a token that shall be added does not exist.
  static Status check(const Vocabulary& vocabulary, const FamilyOptions& options);

  FamilyTokenizer(Vocabulary vocabulary, FamilyOptions options)
      : vocabulary_(std::move(vocabulary)), specials_(vocabulary_), options_(std::move(options)) {}
  FamilyTokenizer(const FamilyTokenizer&) = delete;
  FamilyTokenizer& operator=(const FamilyTokenizer&) = delete;

  std::vector<Token> encode(std::string_view text, const EncodeOptions& options) const override;
  std::vector<Token> encode(const Prompt& prompt, bool add_special) const override;
  std::string piece(Token token, bool show_special) const override;
  std::string decode(std::span<const Token> tokens, bool show_special) const override;

  int32_t size() const override { return vocabulary_.size(); }
  Token bos() const override { return vocabulary_.bos(); }
  Token eos() const override { return vocabulary_.eos(); }
  bool adds_bos() const override { return options_.adds_bos; }
  bool adds_eos() const override { return options_.adds_eos || options_.adds_separator; }
  bool ends_generation(Token token) const override { return vocabulary_.ends_generation(token); }
  bool is_control(Token token) const override {
    return vocabulary_.has(token) && vocabulary_.is(token, kTokenControl);
  }
  std::string description() const override { return options_.description; }
  Bytes bytes() const override;

 protected:
  // Appends the tokens of ordinary text, which stands behind a special token or nothing
  // (`after_special`) or, where an earlier call for the same text ended, behind text.
  virtual void encode_text(std::string_view text, bool after_special,
                           std::vector<Token>& out) const = 0;
  // Appends what a normal token stands for.
  virtual void append_normal(Token token, std::string& out) const;
  // Beside the vocabulary.
  virtual size_t table_bytes() const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  Vocabulary& vocabulary() { return vocabulary_; }

 private:
  std::vector<Token> encode_fragments(std::string_view text, std::span<const Fragment> fragments,
                                      bool add_special) const;
  void append_piece(Token token, bool show_special, std::string& out) const;

  Vocabulary vocabulary_;
  SpecialMatcher specials_;
  FamilyOptions options_;
};

// One a family; REQUIRES check_metadata(metadata) passed.
Result<std::unique_ptr<Tokenizer>> make_bpe(const TokenizerMetadata& metadata);
Result<std::unique_ptr<Tokenizer>> make_spm(const TokenizerMetadata& metadata);
Result<std::unique_ptr<Tokenizer>> make_wpm(const TokenizerMetadata& metadata);
Result<std::unique_ptr<Tokenizer>> make_ugm(const TokenizerMetadata& metadata);

}  // namespace ration
