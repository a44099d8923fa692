// WPM: BERT's WordPiece. Text is cleaned and cut at white space and punctuation; each word is spelt
// with the longest tokens that fit from its front, or is unknown as a whole.
#include <fmt/core.h>

#include <algorithm>

#include "base/text.h"
#include "model/tokenizer/characters.h"
#include "model/tokenizer/family.h"
#include "model/tokenizer/trie.h"

namespace ration {

namespace {

// Ideographs that BERT treats as words of their own.
bool is_ideograph(uint32_t code) {
  return (code >= 0x4e00 && code <= 0x9fff) || (code >= 0x3400 && code <= 0x4dbf) ||
         (code >= 0x20000 && code <= 0x2a6df) || (code >= 0x2a700 && code <= 0x2b81f) ||
         (code >= 0x2b920 && code <= 0x2ceaf) || (code >= 0xf900 && code <= 0xfaff) ||
         (code >= 0x2f800 && code <= 0x2fa1f);
}

constexpr int64_t kLettersMax = 100;

std::vector<Token> plain_tokens(const Vocabulary& vocabulary) {
  std::vector<Token> tokens;
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (!vocabulary.is_reserved(token)) tokens.push_back(token);
  }
  return tokens;
}

class WpmTokenizer final : public FamilyTokenizer {
 public:
  WpmTokenizer(Vocabulary vocabulary, FamilyOptions options, const TokenizerMetadata& metadata)
      : FamilyTokenizer(std::move(vocabulary), std::move(options)),
        trie_(this->vocabulary(), plain_tokens(this->vocabulary())),
        lowercase_(metadata.lowercase.value_or(true)),
        strips_accents_(metadata.strip_accents.value_or(lowercase_)),
        exact_(metadata.wordpiece_exact.value_or(false)) {
    this->vocabulary().drop_index();
    this->vocabulary().texts().shrink();
  }

 protected:
  void encode_text(std::string_view text, bool after_special,
                   std::vector<Token>& out) const override;
  size_t table_bytes() const override {
    return sizeof(*this) - sizeof(FamilyTokenizer) + trie_.bytes();
  }

 private:
  // word: begins with the escaped space.
  void put_letter(uint32_t code, std::string& word, std::vector<Token>& out) const;
  // Empties the word but for that.
  void put_word(std::string& word, std::vector<Token>& out) const;
  // BERT's own tokenizer spells no word of more than 100 letters.
  bool too_long(std::string_view word) const {
    if (!exact_ || word.size() <= kLettersMax + kEscapedSpace.size()) return false;
    const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; };
    return std::ranges::count_if(word.substr(kEscapedSpace.size()), begins) > kLettersMax;
  }

  TokenTrie trie_;
  bool lowercase_;
  bool strips_accents_;
  bool exact_;
};

void WpmTokenizer::encode_text(std::string_view text, bool, std::vector<Token>& out) const {
  std::string word(kEscapedSpace);
  while (!text.empty()) {
    const LenientCodePoint point = read_lenient(text);
    text.remove_prefix(point.bytes);
    if (!strips_accents_) {
      put_letter(point.code, word, out);
    } else if (!exact_) {
      put_letter(base_letter(point.code), word, out);
    } else {
      const Decomposition letters = decompose(point.code);
      for (size_t i = 0; i < letters.count; ++i) put_letter(letters.parts[i], word, out);
    }
  }
  put_word(word, out);
}

void WpmTokenizer::put_letter(uint32_t code, std::string& word, std::vector<Token>& out) const {
  const uint16_t flags = char_flags(code);
  const bool line = code == '\t' || code == '\n' || code == '\r';
  if (exact_ && (flags & kOther) != 0 && !line) return;  // \v and \f are no spaces then
  if ((flags & kSpace) != 0) return put_word(word, out);
  if (code == 0 || code == 0xfffd || (flags & kOther) != 0) return;
  if (strips_accents_ && (exact_ ? is_nonspacing_mark(code) : (flags & kMark) != 0)) return;
  const bool alone =
      (flags & kPunctuation) != 0 || (code < 0x7f && (flags & kSymbol) != 0) || is_ideograph(code);
  if (alone) put_word(word, out);
  append_code_point(word, lowercase_ ? lower_case(code) : code);
  if (alone) put_word(word, out);
}

void WpmTokenizer::put_word(std::string& word, std::vector<Token>& out) const {
  if (word.size() == kEscapedSpace.size()) return;
  const size_t before = out.size();
  for (size_t at = too_long(word) ? word.size() : 0; at < word.size();) {
    size_t longest = 0;
    Token found = kNoToken;
    trie_.walk(std::string_view(word).substr(at), [&](size_t length, Token token) {
      longest = length;
      found = token;
    });
    if (found == kNoToken) {
      out.resize(before);
      break;
    }
    out.push_back(found);
    at += longest;
  }
  if (out.size() == before) out.push_back(vocabulary().unknown());
  word.resize(kEscapedSpace.size());
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_wpm(const TokenizerMetadata& metadata) {
  Result<Vocabulary> vocabulary =
      Vocabulary::make(metadata, {.bos = 101, .unknown = 100, .separator = 102});
  if (!vocabulary) return vocabulary.error();
  if (vocabulary->unknown() == kNoToken) {
    return Error{Code::kCorrupt, "key tokenizer.ggml.unknown_token_id is missing"};
  }
  FamilyOptions options;
  options.description = "WPM";
  options.adds_bos = true;
  options.adds_separator = true;
  if (Status status = FamilyTokenizer::check(*vocabulary, options); !status) return status.error();
  return std::unique_ptr<Tokenizer>(
      std::make_unique<WpmTokenizer>(*std::move(vocabulary), options, metadata));
}

}  // namespace ration
