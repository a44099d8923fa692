// SPM: SentencePiece's BPE. Characters merge wherever two neighbours spell a token, the pair with
// the best score first; characters that are no token become their bytes.
#include <fmt/core.h>

#include <bit>

#include "model/tokenizer/characters.h"
#include "model/tokenizer/family.h"
#include "model/tokenizer/merge.h"

namespace ration {

namespace {

// A rank that falls as the score rises; never kNoId, which only a NaN would give.
uint32_t merge_order(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // one zero
  const bool negative = (bits >> 31) != 0;
  return negative ? bits : ~(bits | 0x80000000u);
}

class SpmTokenizer final : public FamilyTokenizer {
 public:
  SpmTokenizer(Vocabulary vocabulary, FamilyOptions options, const TokenizerMetadata& metadata)
      : FamilyTokenizer(std::move(vocabulary), std::move(options)),
        adds_space_prefix_(metadata.add_space_prefix.value_or(true)) {
    orders_.reserve(metadata.tokens.size());
    neighbours_.reset(metadata.tokens.size());
    for (Token token = 0; token < size(); ++token) {
      const auto index = static_cast<size_t>(token);
      orders_.push_back(merge_order(metadata.scores.empty() ? 0.0f : metadata.scores[index]));
      if (!this->vocabulary().is_reserved(token)) neighbours_.add(this->vocabulary().text(token));
    }
    this->vocabulary().texts().shrink();
  }

 protected:
  void encode_text(std::string_view text, bool after_special,
                   std::vector<Token>& out) const override;
  size_t table_bytes() const override {
    return sizeof(*this) - sizeof(FamilyTokenizer) + orders_.capacity() * sizeof(uint32_t) +
           neighbours_.bytes();
  }

 private:
  void merge_into(std::string_view text, uint32_t end, MergeScratch& scratch,
                  std::vector<Token>& out) const;
  void put_bytes(std::string_view bytes, std::vector<Token>& out) const;

  std::vector<uint32_t> orders_;  // one a token
  Neighbours neighbours_;
  bool adds_space_prefix_;
};

void SpmTokenizer::encode_text(std::string_view raw, bool after_special,
                               std::vector<Token>& out) const {
  std::string text = escape_spaces(raw);
  if (adds_space_prefix_ && after_special) text.insert(0, kEscapedSpace);

  MergeScratch scratch;
  uint32_t left = 0;
  for (size_t at = 0; at < text.size();) {
    const std::string_view character = std::string_view(text).substr(at, stated_length(text[at]));
    const uint32_t right = Neighbours::key(character);
    if (at > 0 && !neighbours_.may_meet(left, right)) {
      merge_into(text, static_cast<uint32_t>(at), scratch, out);
      scratch.symbols.clear();
    }
    const Token token = vocabulary().find_plain(character);
    scratch.symbols.push_back(
        {token == kNoToken ? kNoId : static_cast<uint32_t>(token), static_cast<uint32_t>(at)});
    left = right;
    at += character.size();
  }
  merge_into(text, static_cast<uint32_t>(text.size()), scratch, out);
}

// scratch.symbols: offsets in `text`; the last ends at `end`.
void SpmTokenizer::merge_into(std::string_view text, uint32_t end, MergeScratch& scratch,
                              std::vector<Token>& out) const {
  const std::vector<Symbol>& symbols = scratch.symbols;
  merge_symbols(scratch, end, [&](const Symbol& left, const Symbol&, uint32_t right_end) {
    const Token token = vocabulary().find_plain(text.substr(left.begin, right_end - left.begin));
    if (token == kNoToken) return Merge{};
    return Merge{orders_[static_cast<size_t>(token)], static_cast<uint32_t>(token)};
  });
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].id != kNoId) {
      out.push_back(static_cast<Token>(symbols[i].id));
      continue;
    }
    const uint32_t symbol_end = i + 1 < symbols.size() ? symbols[i + 1].begin : end;
    put_bytes(text.substr(symbols[i].begin, symbol_end - symbols[i].begin), out);
  }
}

void SpmTokenizer::put_bytes(std::string_view bytes, std::vector<Token>& out) const {
  for (const char& c : bytes) {
    Token token = vocabulary().byte_token(static_cast<uint8_t>(c));
    if (token == kNoToken) token = vocabulary().find_plain({&c, 1});
    if (token == kNoToken) token = vocabulary().unknown();
    if (token != kNoToken) out.push_back(token);
  }
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_spm(const TokenizerMetadata& metadata) {
  Result<Vocabulary> vocabulary = Vocabulary::make(metadata, {.bos = 1, .eos = 2, .unknown = 0});
  if (!vocabulary) return vocabulary.error();
  FamilyOptions options;
  options.description = "SPM";
  options.adds_bos = metadata.add_bos.value_or(true);
  options.adds_eos = metadata.add_eos.value_or(false);
  if (Status status = FamilyTokenizer::check(*vocabulary, options); !status) return status.error();
  return std::unique_ptr<Tokenizer>(
      std::make_unique<SpmTokenizer>(*std::move(vocabulary), options, metadata));
}

}  // namespace ration
