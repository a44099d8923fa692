// Made-up metadata tables through the tokenizer maker, then any bytes through what it made.
//
// Input: see Maker; whatever is left when the tables are made is the text. Each read past the end
// gives zeros, so that every input means something.
#include <cstdint>
#include <cstring>
#include <string>

#include "base/check.h"
#include "model/tokenizer/pre_tokenizer.h"
#include "test/model/tokenizer/tiny.h"

namespace ration {
namespace {

class Maker {
 public:
  explicit Maker(std::string_view data) : data_(data) {}

  uint8_t byte() {
    if (at_ >= data_.size()) return 0;
    return static_cast<uint8_t>(data_[at_++]);
  }
  std::string_view bytes(size_t count) {
    const std::string_view found = data_.substr(at_, count);
    at_ += found.size();
    return found;
  }
  std::string_view rest() { return bytes(data_.size()); }

  tiny::Vocabulary make() {
    constexpr std::string_view kModels[] = {"gpt2", "gemma4", "whitespace", "llama", "bert", "t5"};
    const uint8_t kind = byte();
    tiny::Vocabulary made = (kind & 0x80) != 0   ? tiny::bpe()
                            : (kind & 0x40) != 0 ? tiny::spm()
                                                 : tiny::Vocabulary();
    made.metadata.model = kModels[kind % std::size(kModels)];
    const std::span<const PreTokenizer> names = pre_tokenizers();
    made.metadata.pre = names[byte() % names.size()].name;
    add_tokens(made);
    add_merges(made);
    set_rest(made.metadata);
    if (made.metadata.model == "t5") {
      made.texts.emplace_back(bytes(byte()));
      made.metadata.charsmap = std::as_bytes(std::span(made.texts.back()));
    }
    return made;
  }

 private:
  void add_tokens(tiny::Vocabulary& made) {
    for (int count = byte() % 64; count > 0; --count) {
      const uint8_t how = byte();
      std::string text(bytes(how >> 4));
      // Longer tokens out of shorter ones, so that merging has somewhere to go.
      if ((how & 8) != 0 && !made.metadata.tokens.empty()) {
        text.insert(0, made.metadata.tokens[byte() % made.metadata.tokens.size()]);
      }
      const float score = static_cast<float>(static_cast<int8_t>(byte())) / 4;
      made.add(text, static_cast<TokenType>((how & 7) % 7), score);
    }
  }

  void add_merges(tiny::Vocabulary& made) {
    const size_t count = made.metadata.tokens.size();
    for (int merges = byte() % 64; merges > 0; --merges) {
      const uint8_t left = byte();
      std::string pair;
      if (left == 0xff || count == 0) {
        pair = bytes(byte() % 16);
      } else {
        pair = made.metadata.tokens[left % count];
        pair += ' ';
        pair += made.metadata.tokens[byte() % count];
      }
      made.merge(pair);
    }
  }

  void set_rest(TokenizerMetadata& metadata) {
    const uint8_t flags = byte();
    const uint8_t more = byte();
    metadata.add_bos = (flags & 1) != 0;
    metadata.add_eos = (flags & 2) != 0;
    metadata.add_space_prefix = (flags & 4) != 0;
    metadata.remove_extra_whitespaces = (flags & 8) != 0;
    metadata.lowercase = (flags & 16) != 0;
    metadata.strip_accents = (flags & 32) != 0;
    if ((flags & 64) != 0) metadata.scores.clear();
    if ((flags & 128) != 0) metadata.types.clear();
    if ((more & 1) != 0) metadata.ids.bos = byte();
    if ((more & 2) != 0) metadata.ids.eos = byte();
    if ((more & 4) != 0) metadata.ids.unknown = byte();
    if ((more & 8) != 0) metadata.ids.separator = byte();
    if ((more & 16) != 0) metadata.ids.eot = byte();
    if ((more & 32) != 0) metadata.name = "Phi-3";
    if ((more & 64) != 0) metadata.architecture = "nomic-bert-moe";
    if ((more & 128) != 0) metadata.has_merges = true;
  }

  std::string_view data_;
  size_t at_ = 0;
};

void check_ids(const Tokenizer& tokenizer, const std::vector<Token>& ids) {
  std::string joined;
  for (const Token id : ids) {
    CHECK(id >= 0 && id < tokenizer.size());
    joined += tokenizer.piece(id, true);
  }
  CHECK(joined == tokenizer.decode(ids, true));
}

void use(const Tokenizer& tokenizer, std::optional<Token> unknown, std::string_view text) {
  CHECK(tokenizer.bytes().count > 0);
  const std::vector<Token> plain =
      tokenizer.encode(text, {.add_special = false, .parse_special = false});
  check_ids(tokenizer, plain);
  for (const Token id : plain) CHECK(!tokenizer.is_control(id) || id == unknown);
  check_ids(tokenizer, tokenizer.encode(text, {.add_special = true, .parse_special = true}));

  const size_t third = text.size() / 3;
  const std::string first(text.substr(0, third));
  const std::string second(text.substr(third, third));
  const std::string last(text.substr(2 * third));
  check_ids(tokenizer,
            tokenizer.encode(Prompt{{first, true}, {second, false}, {last, true}}, true));
  // Cutting a user's text into spans changes nothing.
  const Prompt cut{{first, false}, {second, false}, {last, false}};
  CHECK(tokenizer.encode(cut, false) == plain);
}

void try_input(std::string_view data) {
  Maker maker(data);
  const tiny::Vocabulary made = maker.make();
  const Result<std::unique_ptr<Tokenizer>> tokenizer = make_tokenizer(made.metadata);
  if (!tokenizer) {
    CHECK(!tokenizer.error().message.empty());
    return;
  }
  // A text's unknown characters may become whatever the file calls unknown.
  std::optional<Token> unknown = made.metadata.ids.unknown;
  if (!unknown) {
    unknown = made.metadata.model == "bert" ? 100 : made.metadata.model == "t5" ? 2 : 0;
  }
  use(**tokenizer, unknown, maker.rest());
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ration::try_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
