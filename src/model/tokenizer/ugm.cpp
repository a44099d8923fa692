// UGM: SentencePiece's unigram model. Of all ways to spell the normalised text with tokens, the one
// with the greatest sum of scores (Viterbi).
//
// Source    Kudo, "Subword Regularization: Improving Neural Network Translation Models with
// Multiple
//           Subword Candidates", sec. 3.1.
#include <fmt/core.h>

#include <algorithm>
#include <cfloat>
#include <limits>

#include "model/tokenizer/characters.h"
#include "model/tokenizer/charsmap.h"
#include "model/tokenizer/family.h"
#include "model/tokenizer/trie.h"

namespace ration {

namespace {

// How much worse than the worst token an unknown character is.
constexpr float kUnknownPenalty = 10.0f;

std::vector<Token> tokens_with(const Vocabulary& vocabulary, uint8_t any) {
  std::vector<Token> tokens;
  for (Token token = 0; token < vocabulary.size(); ++token) {
    if (vocabulary.is(token, any) && !vocabulary.is_reserved(token)) tokens.push_back(token);
  }
  return tokens;
}

class UgmTokenizer final : public FamilyTokenizer {
 public:
  UgmTokenizer(Vocabulary vocabulary, FamilyOptions options, Charsmap charsmap,
               const TokenizerMetadata& metadata);

 protected:
  void encode_text(std::string_view text, bool after_special,
                   std::vector<Token>& out) const override;
  size_t table_bytes() const override {
    return sizeof(*this) - sizeof(FamilyTokenizer) + trie_.bytes() + charsmap_.bytes() +
           scores_.capacity() * sizeof(float) + user_defined_.capacity() * sizeof(Token);
  }

 private:
  struct Step {
    double score = -DBL_MAX;  // of the best way to get here,
    Token token = kNoToken;   // whose last token is this,
    uint32_t begin = 0;       // which begins here
  };
  // One sequence of the input and what it becomes.
  struct Normal {
    size_t consumed;
    std::string_view text;
  };

  std::string normalize(std::string_view text) const;
  Normal normalize_front(std::string_view text) const;
  // How many bytes `text` shares with the user-defined token that it begins most like.
  size_t shared_with_user_defined(std::string_view text) const;

  Charsmap charsmap_;
  TokenTrie trie_;
  std::vector<float> scores_;        // one a token
  std::vector<Token> user_defined_;  // by text
  float unknown_score_;
  bool adds_space_prefix_;
  bool merges_spaces_;
};

UgmTokenizer::UgmTokenizer(Vocabulary moved, FamilyOptions options, Charsmap charsmap,
                           const TokenizerMetadata& metadata)
    : FamilyTokenizer(std::move(moved), std::move(options)),
      charsmap_(std::move(charsmap)),
      trie_(vocabulary(),
            tokens_with(vocabulary(), kTokenNormal | kTokenUserDefined | kTokenUnused)),
      scores_(metadata.scores),
      user_defined_(tokens_with(vocabulary(), kTokenUserDefined)),
      adds_space_prefix_(metadata.add_space_prefix.value_or(false)),
      merges_spaces_(metadata.remove_extra_whitespaces.value_or(false)) {
  const Vocabulary& tokens = vocabulary();
  scores_.resize(static_cast<size_t>(size()), 0.0f);
  float least = FLT_MAX;
  for (Token token = 0; token < size(); ++token) {
    if (tokens.is(token, kTokenNormal)) {
      least = std::min(least, scores_[static_cast<size_t>(token)]);
    }
    if (tokens.is(token, kTokenUserDefined)) scores_[static_cast<size_t>(token)] = 0.0f;
  }
  unknown_score_ = least - kUnknownPenalty;
  std::sort(user_defined_.begin(), user_defined_.end(),
            [&](Token a, Token b) { return tokens.text(a) < tokens.text(b); });
  vocabulary().drop_index();
  vocabulary().texts().shrink();
}

size_t UgmTokenizer::shared_with_user_defined(std::string_view text) const {
  const auto shared = [&](Token token) {
    const std::string_view spelt = vocabulary().text(token);
    size_t length = 0;
    while (length < spelt.size() && length < text.size() && spelt[length] == text[length]) ++length;
    return length;
  };
  // The token most like the text stands beside the place where the text would be.
  const auto above = std::lower_bound(
      user_defined_.begin(), user_defined_.end(), text,
      [&](Token token, std::string_view t) { return vocabulary().text(token) < t; });
  size_t most = above != user_defined_.end() ? shared(*above) : 0;
  if (above != user_defined_.begin()) most = std::max(most, shared(*std::prev(above)));
  return most;
}

UgmTokenizer::Normal UgmTokenizer::normalize_front(std::string_view text) const {
  if (const size_t length = shared_with_user_defined(text); length > 0) {
    return {length, text.substr(0, length)};
  }
  if (const Charsmap::Match match = charsmap_.longest(text); match.length > 0) {
    return {match.length, match.replacement};
  }
  const LenientCodePoint point = read_lenient(text);
  if (!point.valid) return {1, "\xef\xbf\xbd"};
  return {point.bytes, text.substr(0, point.bytes)};
}

std::string UgmTokenizer::normalize(std::string_view text) const {
  std::string out;
  out.reserve(text.size() + text.size() / 4 + 8);
  bool prefixed = false;
  bool in_word = false;
  while (!text.empty()) {
    const Normal normal = normalize_front(text);
    for (const char c : normal.text) {
      if (c == ' ') {
        in_word = false;
        if (!merges_spaces_) out += kEscapedSpace;
        continue;
      }
      if (!in_word && ((adds_space_prefix_ && !prefixed) || merges_spaces_)) {
        out += kEscapedSpace;
        prefixed = true;
      }
      in_word = true;
      out += c;
    }
    text.remove_prefix(normal.consumed);
  }
  return out;
}

void UgmTokenizer::encode_text(std::string_view raw, bool, std::vector<Token>& out) const {
  const std::string text = normalize(raw);
  CHECK(text.size() < UINT32_MAX);
  std::vector<Step> best(text.size() + 1);  // best[i]: of the text before byte i
  best[0].score = 0.0;
  const auto offer = [&](size_t begin, size_t length, Token token, double score) {
    Step& step = best[begin + length];
    const double sum = best[begin].score + score;
    if (sum > step.score) step = {sum, token, static_cast<uint32_t>(begin)};
  };
  const Token unknown = vocabulary().unknown();
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::min(stated_length(text[at]), text.size() - at);
    bool whole_character = false;
    trie_.walk(std::string_view(text).substr(at), [&](size_t matched, Token token) {
      if (matched == length) whole_character = true;
      offer(at, matched, token, static_cast<double>(scores_[static_cast<size_t>(token)]));
    });
    if (!whole_character) offer(at, length, unknown, static_cast<double>(unknown_score_));
    at += length;
  }
  const size_t first = out.size();
  for (size_t end = text.size(); end > 0; end = best[end].begin) {
    const Token token = best[end].token;
    // Unknown characters in a row are one unknown token.
    if (token != unknown || out.size() == first || out.back() != unknown) out.push_back(token);
  }
  std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_ugm(const TokenizerMetadata& metadata) {
  Result<Vocabulary> vocabulary = Vocabulary::make(metadata, {.eos = 1, .unknown = 2});
  if (!vocabulary) return vocabulary.error();
  if (vocabulary->unknown() == kNoToken) {
    return Error{Code::kCorrupt, "key tokenizer.ggml.unknown_token_id is missing"};
  }
  Result<Charsmap> charsmap = Charsmap::make(metadata.charsmap);
  if (!charsmap) return charsmap.error();
  FamilyOptions options;
  options.description = "UGM";
  options.adds_bos = metadata.add_bos.value_or(false);
  options.adds_eos = metadata.add_eos.value_or(true);
  if (Status status = FamilyTokenizer::check(*vocabulary, options); !status) return status.error();
  return std::unique_ptr<Tokenizer>(std::make_unique<UgmTokenizer>(*std::move(vocabulary), options,
                                                                   *std::move(charsmap), metadata));
}

}  // namespace ration
