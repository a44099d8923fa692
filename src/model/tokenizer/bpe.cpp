// BPE: byte pair encoding. Text is cut into words, each word's bytes (or characters) merge pair by
// pair in the order of the file's merge list.
#include <fmt/core.h>

#include <array>
#include <cctype>

#include "base/text.h"
#include "model/tokenizer/characters.h"
#include "model/tokenizer/family.h"
#include "model/tokenizer/merge.h"
#include "model/tokenizer/pre_tokenizer.h"

namespace ration {

namespace {

// GPT-2's byte alphabet: a printable character for each byte, so that token texts hold no spaces
// and no control characters. Printable Latin-1 stands for itself, the other 68 bytes for U+0100
// onwards.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
      const uint32_t code = printable ? byte : next++;
      append_code_point(texts_[byte], code);
      bytes_[code] = static_cast<int16_t>(byte);
    }
  }
  const std::string& text(uint8_t byte) const { return texts_[byte]; }
  // -1 for a character outside the alphabet.
  int byte(uint32_t code) const { return code < bytes_.size() ? bytes_[code] : -1; }

 private:
  std::array<std::string, 256> texts_;
  std::array<int16_t, 0x144> bytes_;
};

const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

// The merge list, found by the ids of a pair. Rank i is line i of the list.
class MergeTable {
 public:
  void reserve(size_t count) {
    rows_.reserve(count);
    index_.reset(count);
  }
  // False when pairs were made to collide. Of equal pairs the first counts.
  [[nodiscard]] bool add(uint32_t left, uint32_t right, uint32_t result) {
    const auto rank = static_cast<uint32_t>(rows_.size());
    rows_.push_back({left, right, result});
    if (result == kNoId || find(left, right).order != kNoId) return true;
    return index_.insert(hash(left, right), rank);
  }
  Merge find(uint32_t left, uint32_t right) const {
    const uint32_t rank = index_.find(hash(left, right), [&](uint32_t id) {
      return rows_[id].left == left && rows_[id].right == right;
    });
    return rank == kNoId ? Merge{} : Merge{rank, rows_[rank].result};
  }
  size_t bytes() const { return rows_.capacity() * sizeof(Row) + index_.bytes(); }

 private:
  struct Row {
    uint32_t left;
    uint32_t right;
    uint32_t result;
  };
  static uint64_t hash(uint32_t left, uint32_t right) {
    return mix_hash((uint64_t{left} << 32) | right);
  }
  std::vector<Row> rows_;
  TaggedIndex index_;
};

class BpeTokenizer final : public FamilyTokenizer {
 public:
  BpeTokenizer(Vocabulary vocabulary, FamilyOptions options, const PreTokenizer& pre)
      : FamilyTokenizer(std::move(vocabulary), std::move(options)), pre_(pre) {}

  // Texts of the merge list that are no tokens become symbols behind the tokens.
  Status add_merges(std::span<const std::string_view> merges);
  void finish();
  // Text is cut at white space, which vanishes, and optionally put in lower case.
  void split_at_spaces(bool lowercase) {
    drops_spaces_ = true;
    lowercase_ = lowercase;
  }

 protected:
  void encode_text(std::string_view text, bool after_special,
                   std::vector<Token>& out) const override;
  void append_normal(Token token, std::string& out) const override;
  size_t table_bytes() const override {
    return sizeof(*this) - sizeof(FamilyTokenizer) + merges_.bytes() + neighbours_.bytes();
  }

 private:
  struct Scratch {
    MergeScratch merge;
    std::string word;
  };

  bool raw() const { return pre_.is(kRawBytes); }
  // The number of `text` among tokens and other symbols, new if need be; kNoId when full.
  uint32_t symbol_of(std::string_view text);
  void encode_words(std::string_view text, std::vector<Token>& out) const;
  void encode_word(std::string_view word, Scratch& scratch, std::vector<Token>& out) const;
  Token whole_word(std::string_view word, std::string& spelt) const;
  void encode_characters(std::string_view word, Scratch& scratch, std::vector<Token>& out) const;
  void merge_into(std::string_view word, uint32_t end, Scratch& scratch,
                  std::vector<Token>& out) const;
  void put_unknown(uint32_t id, std::string_view bytes, std::vector<Token>& out) const;

  const PreTokenizer& pre_;
  MergeTable merges_;
  Neighbours neighbours_;                     // raw() only
  std::array<uint32_t, 256> byte_symbols_{};  // kNoId where a byte is neither token nor symbol
  std::array<Token, 128> ascii_tokens_{};     // tokens spelt with one ASCII character
  bool drops_spaces_ = false;
  bool lowercase_ = false;
};

uint32_t BpeTokenizer::symbol_of(std::string_view text) {
  TextTable& texts = vocabulary().texts();
  const uint32_t known = texts.find(text);
  if (known != kNoId) return known;
  return texts.add(text) == TextTable::Added::kNew ? texts.size() - 1 : kNoId;
}

Status BpeTokenizer::add_merges(std::span<const std::string_view> merges) {
  merges_.reserve(merges.size());
  std::string joined;
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const size_t space = merge.find(' ', 1);  // a left part may be a space itself
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return Error{Code::kCorrupt, fmt::format("tokenizer.ggml.merges: found merge {} '{}', wanted "
                                               "two texts with a space between",
                                               i, merge)};
    }
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = merge.substr(space + 1);
    joined.assign(left).append(right);
    const uint32_t left_id = symbol_of(left);
    const uint32_t right_id = symbol_of(right);
    uint32_t result = symbol_of(joined);
    if (left_id == kNoId || right_id == kNoId || result == kNoId) {
      return Error{Code::kUnsupported,
                   fmt::format("tokenizer.ggml.merges: found more than {} texts", kIndexIdMax)};
    }
    // Text must never become a control token, whatever the merge list says.
    const auto token = static_cast<Token>(result);
    if (vocabulary().has(token) && vocabulary().is_reserved(token)) result = kNoId;
    if (!merges_.add(left_id, right_id, result)) {
      return Error{Code::kCorrupt, "tokenizer.ggml.merges: found pairs made to collide"};
    }
  }
  return {};
}

void BpeTokenizer::finish() {
  Vocabulary& vocabulary = this->vocabulary();
  const auto reachable = [&](uint32_t id) {
    const auto token = static_cast<Token>(id);
    return id != kNoId && vocabulary.has(token) && vocabulary.is_reserved(token) ? kNoId : id;
  };
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string& text = byte_alphabet().text(static_cast<uint8_t>(byte));
    byte_symbols_[byte] = reachable(vocabulary.texts().find(text));
  }
  for (unsigned c = 0; c < 128; ++c) {
    const char text = static_cast<char>(c);
    ascii_tokens_[c] = vocabulary.find_plain({&text, 1});
  }
  if (raw()) {
    neighbours_.reset(vocabulary.texts().size());
    for (uint32_t id = 0; id < vocabulary.texts().size(); ++id) {
      neighbours_.add(vocabulary.texts().text(id));
    }
  }
  vocabulary.texts().shrink();
  if (!raw() && !pre_.is(kWholeWordsFirst)) vocabulary.drop_index();
}

void BpeTokenizer::encode_text(std::string_view text, bool, std::vector<Token>& out) const {
  std::string escaped;
  if (pre_.is(kEscapesSpaces)) text = escaped = escape_spaces(text);
  std::string scratch;
  text = canonical_utf8(text, scratch);
  if (!drops_spaces_) return encode_words(text, out);

  std::string segment;
  const auto flush = [&] {
    encode_words(segment, out);
    segment.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    if (c.is(kSpace))
      flush();
    else
      append_code_point(segment, lowercase_ ? lower_case(c.code) : c.code);
    at += c.bytes;
  }
  flush();
}

void BpeTokenizer::encode_words(std::string_view text, std::vector<Token>& out) const {
  std::vector<uint32_t> ends;
  std::vector<uint32_t> spare;
  split_text(text, pre_.stages, ends, spare);
  Scratch scratch;
  uint32_t begin = 0;
  for (const uint32_t end : ends) {
    encode_word(text.substr(begin, end - begin), scratch, out);
    begin = end;
  }
}

Token BpeTokenizer::whole_word(std::string_view word, std::string& spelt) const {
  const bool newlines =
      pre_.is(kWholeNewlines) && word.find_first_not_of('\n') == std::string_view::npos;
  if (!pre_.is(kWholeWordsFirst) && !newlines) return kNoToken;
  if (raw()) return vocabulary().find_plain(word);
  spelt.clear();
  for (const char c : word) spelt += byte_alphabet().text(static_cast<uint8_t>(c));
  return vocabulary().find_plain(spelt);
}

void BpeTokenizer::encode_word(std::string_view word, Scratch& scratch,
                               std::vector<Token>& out) const {
  if (word.empty()) return;
  if (const Token whole = whole_word(word, scratch.word); whole != kNoToken) {
    out.push_back(whole);
    return;
  }
  if (raw()) return encode_characters(word, scratch, out);
  scratch.merge.symbols.clear();
  for (size_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    scratch.merge.symbols.push_back({byte_symbols_[byte], static_cast<uint32_t>(i)});
  }
  merge_into(word, static_cast<uint32_t>(word.size()), scratch, out);
}

// A "word" is a whole line here: it is cut where no two characters can ever merge.
void BpeTokenizer::encode_characters(std::string_view word, Scratch& scratch,
                                     std::vector<Token>& out) const {
  scratch.merge.symbols.clear();
  uint32_t left = 0;
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, stated_length(word[at]));
    const uint32_t right = Neighbours::key(character);
    if (at > 0 && !neighbours_.may_meet(left, right)) {
      merge_into(word, static_cast<uint32_t>(at), scratch, out);
      scratch.merge.symbols.clear();
    }
    uint32_t id = vocabulary().texts().find(character);
    const auto token = static_cast<Token>(id);
    if (id != kNoId && vocabulary().has(token) && vocabulary().is_reserved(token)) id = kNoId;
    scratch.merge.symbols.push_back({id, static_cast<uint32_t>(at)});
    left = right;
    at += character.size();
  }
  merge_into(word, static_cast<uint32_t>(word.size()), scratch, out);
}

// scratch.merge.symbols: offsets in `word`; the last ends at `end`.
void BpeTokenizer::merge_into(std::string_view word, uint32_t end, Scratch& scratch,
                              std::vector<Token>& out) const {
  std::vector<Symbol>& symbols = scratch.merge.symbols;
  merge_symbols(scratch.merge, end, [&](const Symbol& left, const Symbol& right, uint32_t) {
    return left.id == kNoId || right.id == kNoId ? Merge{} : merges_.find(left.id, right.id);
  });
  const auto token_count = static_cast<uint32_t>(size());
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].id < token_count) {
      out.push_back(static_cast<Token>(symbols[i].id));
      continue;
    }
    const uint32_t symbol_end = i + 1 < symbols.size() ? symbols[i + 1].begin : end;
    put_unknown(symbols[i].id, word.substr(symbols[i].begin, symbol_end - symbols[i].begin), out);
  }
}

// What is no token: byte by byte, as far as bytes are tokens.
void BpeTokenizer::put_unknown(uint32_t id, std::string_view bytes, std::vector<Token>& out) const {
  if (!raw()) {
    if (id == kNoId) return;
    for (const char c : vocabulary().texts().text(id)) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 128 && ascii_tokens_[byte] != kNoToken) out.push_back(ascii_tokens_[byte]);
    }
    return;
  }
  for (const char c : bytes) {
    const Token token = vocabulary().byte_token(static_cast<uint8_t>(c));
    if (token != kNoToken) out.push_back(token);
  }
}

void BpeTokenizer::append_normal(Token token, std::string& out) const {
  if (pre_.is(kEscapesSpaces) || raw()) return FamilyTokenizer::append_normal(token, out);
  const std::string_view text = vocabulary().text(token);
  for (size_t at = 0; at < text.size();) {
    const LenientCodePoint point = read_lenient(text.substr(at));
    const int byte = point.valid ? byte_alphabet().byte(point.code) : -1;
    if (byte >= 0)
      out += static_cast<char>(byte);
    else
      out += text.substr(at, point.bytes);
    at += point.bytes;
  }
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_bpe(const TokenizerMetadata& metadata) {
  const bool gemma4 = metadata.model == "gemma4";
  const std::string name = gemma4 ? "gemma4" : metadata.pre;
  const PreTokenizer* pre = find_pre_tokenizer(name);
  if (pre == nullptr) {
    std::vector<std::string> names;
    for (const PreTokenizer& row : pre_tokenizers()) names.emplace_back(row.name);
    return Error{Code::kUnsupported, fmt::format("tokenizer.ggml.pre: found '{}', wanted a "
                                                 "pre-tokeniser we know {}",
                                                 name, did_you_mean(name, names))};
  }
  if (!metadata.has_merges && name != "kimi-k2") {
    return Error{Code::kCorrupt, "key tokenizer.ggml.merges is missing"};
  }
  SpecialDefaults defaults;
  if (!gemma4) defaults = {.bos = 11, .eos = 11};
  if (pre->is(kNoDefaultBos)) defaults.bos = kNoToken;
  Result<Vocabulary> vocabulary = Vocabulary::make(metadata, defaults);
  if (!vocabulary) return vocabulary.error();

  FamilyOptions options;
  options.description = fmt::format("BPE {}", pre->name);
  options.adds_bos = metadata.add_bos.value_or(pre->is(kAddsBos)) || pre->is(kAlwaysAddsBos);
  options.adds_eos = metadata.add_eos.value_or(false);
  if (Status status = FamilyTokenizer::check(*vocabulary, options); !status) return status.error();

  auto tokenizer = std::make_unique<BpeTokenizer>(*std::move(vocabulary), options, *pre);
  if (Status status = tokenizer->add_merges(metadata.merges); !status) return status.error();
  tokenizer->finish();
  if (metadata.model == "whitespace") {
    tokenizer->split_at_spaces(metadata.lowercase.value_or(pre->name != "whitespace"));
  }
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

}  // namespace ration
