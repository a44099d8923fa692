// model/tokenizer/vocabulary.h - the tokens of a file: their texts, kinds and special roles.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unit.h"
#include "model/tokenizer/metadata.h"
#include "model/tokenizer/text_table.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {

inline constexpr Token kNoToken = -1;

// What a token is; several bits may be set once the rules have been applied.
enum TokenFlag : uint8_t {
  kTokenNormal = 1,
  kTokenUnknown = 2,
  kTokenControl = 4,
  kTokenUserDefined = 8,
  kTokenUnused = 16,
  kTokenByte = 32,
  kTokenStripLeft = 64,    // swallows white space before it
  kTokenStripRight = 128,  // and after it
};

// Where a family's ids come from when the file does not say.
struct SpecialDefaults {
  Token bos = kNoToken;
  Token eos = kNoToken;
  Token unknown = kNoToken;
  Token separator = kNoToken;
};

// shared-const once made.
class Vocabulary {
 public:
  // REQUIRES: check_metadata(metadata) passed. kCorrupt for two tokens of one text.
  static Result<Vocabulary> make(const TokenizerMetadata& metadata,
                                 const SpecialDefaults& defaults);

  int32_t size() const { return static_cast<int32_t>(flags_.size()); }
  bool has(Token token) const { return token >= 0 && token < size(); }
  // REQUIRES for all of these: has(token).
  std::string_view text(Token token) const { return texts_.text(static_cast<uint32_t>(token)); }
  bool is(Token token, uint8_t any) const {
    return (flags_[static_cast<size_t>(token)] & any) != 0;
  }
  // Tokens that ordinary text may never produce, whatever it spells.
  bool is_reserved(Token token) const {
    return is(token, kTokenControl | kTokenUnknown) || is_template_only(token);
  }

  // The token spelt exactly so, reserved ones included; kNoToken.
  Token find(std::string_view text) const {
    const uint32_t id = texts_.find(text);
    return id < flags_.size() ? static_cast<Token>(id) : kNoToken;
  }
  // The same, but never a reserved one: what text may become.
  Token find_plain(std::string_view text) const {
    const Token token = find(text);
    return token == kNoToken || is_reserved(token) ? kNoToken : token;
  }
  // The token of one byte, spelt "<0x0A>"; kNoToken.
  Token byte_token(uint8_t byte) const {
    return byte_tokens_.empty() ? kNoToken : byte_tokens_[byte];
  }
  // The byte of a kTokenByte token.
  uint8_t token_byte(Token token) const;

  Token bos() const { return bos_; }
  Token eos() const { return eos_; }
  Token unknown() const { return unknown_; }
  Token separator() const { return separator_; }
  bool ends_generation(Token token) const;
  std::span<const Token> end_tokens() const { return end_tokens_; }
  // Shown like text, but recognised only where a template wrote it.
  bool is_template_only(Token token) const;

  // For the maker of a family: symbols beyond the tokens may be added behind them.
  TextTable& texts() { return texts_; }
  const TextTable& texts() const { return texts_; }
  // find() and find_plain() find nothing afterwards.
  void drop_index() { texts_.drop_index(); }

  Bytes bytes() const;

 private:
  Status add_tokens(const TokenizerMetadata& metadata);
  Status set_flags(const TokenizerMetadata& metadata);
  void set_ids(const TokenizerMetadata& metadata, const SpecialDefaults& defaults);
  void find_end_tokens(SpecialIds ids);
  void settle_exceptions();
  void set_strip_flags(const TokenizerMetadata& metadata);
  void find_byte_tokens();

  void add_flag(Token token, uint8_t flag) { flags_[static_cast<size_t>(token)] |= flag; }
  void end_with(Token token);
  // The first of `texts` that is a token, which becomes a control token; else kNoToken.
  Token claim(std::span<const std::string_view> texts);

  TextTable texts_;
  std::vector<uint8_t> flags_;
  std::vector<Token> byte_tokens_;    // empty, or 256
  std::vector<Token> end_tokens_;     // rising
  std::vector<Token> template_only_;  // rising
  Token bos_ = kNoToken;
  Token eos_ = kNoToken;
  Token unknown_ = kNoToken;
  Token separator_ = kNoToken;
};

}  // namespace ration
