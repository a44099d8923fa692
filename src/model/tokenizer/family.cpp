#include "model/tokenizer/family.h"

#include <fmt/core.h>

#include "model/tokenizer/characters.h"

namespace ration {

Status FamilyTokenizer::check(const Vocabulary& vocabulary, const FamilyOptions& options) {
  const auto missing = [](std::string_view which) {
    return Error{Code::kCorrupt,
                 fmt::format("tokenizer.ggml: found that {0} shall be added, wanted "
                             "its id in tokenizer.ggml.{0}_token_id",
                             which)};
  };
  if (options.adds_bos && vocabulary.bos() == kNoToken) return missing("bos");
  if (options.adds_eos && vocabulary.eos() == kNoToken) return missing("eos");
  if (options.adds_separator && vocabulary.separator() == kNoToken) return missing("seperator");
  return {};
}

std::vector<Token> FamilyTokenizer::encode(std::string_view text,
                                           const EncodeOptions& options) const {
  CHECK(text.size() < UINT32_MAX);
  std::vector<Fragment> fragments;
  specials_.split(text, 0, static_cast<uint32_t>(text.size()), options.parse_special, fragments);
  return encode_fragments(text, fragments, options.add_special);
}

std::vector<Token> FamilyTokenizer::encode(const Prompt& prompt, bool add_special) const {
  const std::string text = plain_text(prompt);
  CHECK(text.size() < UINT32_MAX);
  std::vector<Fragment> fragments;
  std::vector<Fragment> found;
  uint32_t begin = 0;
  for (size_t i = 0; i < prompt.size();) {
    const bool from_template = prompt[i].from_template;
    size_t length = 0;
    for (; i < prompt.size() && prompt[i].from_template == from_template; ++i) {
      length += prompt[i].text.size();
    }
    const uint32_t end = begin + static_cast<uint32_t>(length);
    found.clear();
    specials_.split(text, begin, end, from_template, found);
    for (const Fragment& fragment : found) {
      const bool continues = fragment.token == kNoToken && !fragments.empty() &&
                             fragments.back().token == kNoToken &&
                             fragments.back().end == fragment.begin;
      if (continues)
        fragments.back().end = fragment.end;
      else
        fragments.push_back(fragment);
    }
    begin = end;
  }
  return encode_fragments(text, fragments, add_special);
}

std::vector<Token> FamilyTokenizer::encode_fragments(std::string_view text,
                                                     std::span<const Fragment> fragments,
                                                     bool add_special) const {
  std::vector<Token> out;
  out.reserve(text.size() / 3 + 8);
  if (add_special && options_.adds_bos) out.push_back(vocabulary_.bos());
  bool after_special = true;
  for (const Fragment& fragment : fragments) {
    if (fragment.token == kNoToken) {
      encode_text(text.substr(fragment.begin, fragment.end - fragment.begin), after_special, out);
    } else {
      out.push_back(fragment.token);
    }
    after_special = fragment.token != kNoToken;
  }
  if (add_special && options_.adds_separator) out.push_back(vocabulary_.separator());
  if (add_special && options_.adds_eos) out.push_back(vocabulary_.eos());
  return out;
}

void FamilyTokenizer::append_normal(Token token, std::string& out) const {
  append_unescaped(out, vocabulary_.text(token));
}

void FamilyTokenizer::append_piece(Token token, bool show_special, std::string& out) const {
  if (!vocabulary_.has(token)) return;
  constexpr uint8_t kHidden = kTokenControl | kTokenUnknown;
  if (vocabulary_.is(token, kHidden) && !show_special) return;
  if (vocabulary_.is(token, kHidden | kTokenUserDefined)) {
    out += vocabulary_.text(token);
  } else if (vocabulary_.is(token, kTokenNormal)) {
    append_normal(token, out);
  } else if (vocabulary_.is(token, kTokenByte)) {
    out += static_cast<char>(vocabulary_.token_byte(token));
  }
}

std::string FamilyTokenizer::piece(Token token, bool show_special) const {
  std::string out;
  append_piece(token, show_special, out);
  return out;
}

std::string FamilyTokenizer::decode(std::span<const Token> tokens, bool show_special) const {
  std::string out;
  out.reserve(tokens.size() * 4);
  for (const Token token : tokens) append_piece(token, show_special, out);
  return out;
}

Bytes FamilyTokenizer::bytes() const {
  const size_t shared = sizeof(*this) + specials_.bytes() + options_.description.capacity();
  return vocabulary_.bytes() + Bytes{static_cast<int64_t>(shared + table_bytes())};
}

}  // namespace ration
