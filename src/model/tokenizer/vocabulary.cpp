#include "model/tokenizer/vocabulary.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace ration {

namespace {

using Texts = std::span<const std::string_view>;

// Texts that end an answer wherever a vocabulary has them, whatever kind the file calls them.
constexpr std::string_view kEndTexts[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "[e~[",
};
// Fill-in-the-middle marks: always control tokens; the last three also end an answer.
constexpr std::string_view kFimPrefix[] = {"<|fim_prefix|>",
                                           "<fim-prefix>",
                                           "<fim_prefix>",
                                           "<\xef\xbd\x9c"
                                           "fim\xe2\x96\x81"
                                           "begin\xef\xbd\x9c>",
                                           "<PRE>",
                                           "\xe2\x96\x81<PRE>",
                                           "<|code_prefix|>",
                                           "<|prefix|>"};
constexpr std::string_view kFimSuffix[] = {"<|fim_suffix|>",
                                           "<fim-suffix>",
                                           "<fim_suffix>",
                                           "<\xef\xbd\x9c"
                                           "fim\xe2\x96\x81hole\xef\xbd\x9c>",
                                           "<SUF>",
                                           "\xe2\x96\x81<SUF>",
                                           "<|code_suffix|>",
                                           "<|suffix|>"};
constexpr std::string_view kFimMiddle[] = {"<|fim_middle|>",
                                           "<fim-middle>",
                                           "<fim_middle>",
                                           "<\xef\xbd\x9c"
                                           "fim\xe2\x96\x81"
                                           "end\xef\xbd\x9c>",
                                           "<MID>",
                                           "\xe2\x96\x81<MID>",
                                           "<|code_middle|>",
                                           "<|middle|>"};
constexpr std::string_view kFimPad[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"};
constexpr std::string_view kFimRepository[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
                                               "<REPO>", "<reponame>"};
constexpr std::string_view kFimSeparator[] = {"<|file_sep|>"};
// Marks of answers in several channels: people and programs need to see them.
constexpr std::string_view kChannelTexts[] = {"<|channel|>", "<|message|>", "<|start|>",
                                              "<|constrain|>"};

uint8_t flag_of(TokenType type) {
  switch (type) {
    case TokenType::kNormal:
      return kTokenNormal;
    case TokenType::kUnknown:
      return kTokenUnknown;
    case TokenType::kControl:
      return kTokenControl;
    case TokenType::kUserDefined:
      return kTokenUserDefined;
    case TokenType::kUnused:
      return kTokenUnused;
    case TokenType::kByte:
      return kTokenByte;
    case TokenType::kUndefined:
      break;
  }
  return 0;
}

std::optional<uint8_t> parse_byte_text(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
  };
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  if (digit(text[3]) < 0 || digit(text[4]) < 0) return std::nullopt;
  return static_cast<uint8_t>(digit(text[3]) * 16 + digit(text[4]));
}

bool contains(std::span<const Token> rising, Token token) {
  return std::binary_search(rising.begin(), rising.end(), token);
}

void insert(std::vector<Token>& rising, Token token) {
  const auto at = std::lower_bound(rising.begin(), rising.end(), token);
  if (at == rising.end() || *at != token) rising.insert(at, token);
}

}  // namespace

Result<Vocabulary> Vocabulary::make(const TokenizerMetadata& metadata,
                                    const SpecialDefaults& defaults) {
  Vocabulary vocabulary;
  if (Status status = vocabulary.add_tokens(metadata); !status) return status.error();
  if (Status status = vocabulary.set_flags(metadata); !status) return status.error();
  vocabulary.set_ids(metadata, defaults);
  vocabulary.find_end_tokens(metadata.ids);
  vocabulary.settle_exceptions();
  vocabulary.set_strip_flags(metadata);
  vocabulary.find_byte_tokens();
  return vocabulary;
}

Status Vocabulary::add_tokens(const TokenizerMetadata& metadata) {
  size_t bytes = 0;
  for (const std::string_view token : metadata.tokens) bytes += token.size();
  texts_.reserve(metadata.tokens.size(), bytes);
  for (size_t i = 0; i < metadata.tokens.size(); ++i) {
    std::string_view text = metadata.tokens[i];
    const std::string stand_in = text.empty() ? fmt::format("[EMPTY_{}]", i) : std::string();
    if (text.empty()) text = stand_in;
    switch (texts_.add(text)) {
      case TextTable::Added::kNew:
        break;
      case TextTable::Added::kAlreadyThere:
        return Error{Code::kCorrupt,
                     fmt::format("tokenizer.ggml.tokens: found tokens {} and {} with one text, "
                                 "wanted each text once",
                                 texts_.find(text), i)};
      case TextTable::Added::kFull:
        return Error{Code::kCorrupt, "tokenizer.ggml.tokens: found texts made to collide"};
    }
  }
  return {};
}

Status Vocabulary::set_flags(const TokenizerMetadata& metadata) {
  if (metadata.types.empty()) {
    flags_.assign(metadata.tokens.size(), kTokenNormal);
  } else {
    flags_.reserve(metadata.types.size());
    for (const TokenType type : metadata.types) flags_.push_back(flag_of(type));
  }
  for (Token token = 0; token < size(); ++token) {
    if (!is(token, kTokenByte) || parse_byte_text(text(token))) continue;
    return Error{Code::kCorrupt,
                 fmt::format("tokenizer.ggml.tokens: found byte token {} spelt '{}', "
                             "wanted '<0x00>' to '<0xFF>'",
                             token, text(token))};
  }
  return {};
}

void Vocabulary::find_byte_tokens() {
  for (int byte = 0; byte < 256; ++byte) {
    const Token token = find_plain(fmt::format("<0x{:02X}>", byte));
    if (token == kNoToken) continue;
    byte_tokens_.resize(256, kNoToken);
    byte_tokens_[static_cast<size_t>(byte)] = token;
  }
}

uint8_t Vocabulary::token_byte(Token token) const {
  const std::optional<uint8_t> byte = parse_byte_text(text(token));
  CHECK(byte.has_value());
  return *byte;
}

void Vocabulary::set_ids(const TokenizerMetadata& metadata, const SpecialDefaults& defaults) {
  const auto pick = [&](std::optional<Token> stated, Token otherwise) {
    return stated ? *stated : has(otherwise) ? otherwise : kNoToken;
  };
  bos_ = pick(metadata.ids.bos, defaults.bos);
  eos_ = pick(metadata.ids.eos, defaults.eos);
  unknown_ = pick(metadata.ids.unknown, defaults.unknown);
  separator_ = pick(metadata.ids.separator, defaults.separator);
}

Token Vocabulary::claim(Texts texts) {
  for (const std::string_view text : texts) {
    const Token token = find(text);
    if (token == kNoToken) continue;
    add_flag(token, kTokenControl);
    return token;
  }
  return kNoToken;
}

void Vocabulary::end_with(Token token) {
  if (token != kNoToken) insert(end_tokens_, token);
}

void Vocabulary::find_end_tokens(SpecialIds ids) {
  if (!ids.fim_prefix) claim(kFimPrefix);
  if (!ids.fim_suffix) claim(kFimSuffix);
  if (!ids.fim_middle) claim(kFimMiddle);
  end_with(ids.fim_pad ? *ids.fim_pad : claim(kFimPad));
  end_with(ids.fim_repository ? *ids.fim_repository : claim(kFimRepository));
  end_with(ids.fim_separator ? *ids.fim_separator : claim(kFimSeparator));

  for (const std::string_view text : kEndTexts) end_with(claim({&text, 1}));
  end_with(eos_);
  end_with(ids.eot.value_or(kNoToken));
  end_with(ids.eom.value_or(kNoToken));

  for (Token token = 0; token < size(); ++token) {
    if (is(token, kTokenControl) && text(token).find("unused") != std::string_view::npos) {
      add_flag(token, kTokenUnused);
    }
  }
}

void Vocabulary::settle_exceptions() {
  const auto demote = [&](Token token, uint8_t flag) {
    if (is(token, kTokenControl)) insert(template_only_, token);
    flags_[static_cast<size_t>(token)] = flag;
  };
  for (const std::string_view text : kChannelTexts) {
    if (const Token token = find(text); token != kNoToken) demote(token, kTokenUserDefined);
  }
  const auto ends = [&](std::string_view text) {
    const Token token = find(text);
    return token != kNoToken && ends_generation(token);
  };
  const auto no_longer_ends = [&](std::string_view text, uint8_t flag) {
    const Token token = find(text);
    end_tokens_.erase(std::find(end_tokens_.begin(), end_tokens_.end(), token));
    demote(token, flag);
  };
  // Where these pairs exist, <|end|> only ends one message of several.
  const bool called = ends("<|call|>") || ends("<|calls|>");
  if (ends("<|end|>") && called && (ends("<|return|>") || ends("<|flush|>"))) {
    no_longer_ends("<|end|>", kTokenUserDefined);
  }
  // Where these exist, </s> is the HTML tag.
  if (ends("</s>") && (ends("<|tool_response>") || ends("<|plamo:eos|>"))) {
    no_longer_ends("</s>", kTokenNormal);
    const Token tag = find("</s>");
    template_only_.erase(std::remove(template_only_.begin(), template_only_.end(), tag),
                         template_only_.end());
  }
}

// GGUF does not carry what Hugging Face's tokenizer files call lstrip and rstrip; it follows from
// the kind of model.
void Vocabulary::set_strip_flags(const TokenizerMetadata& metadata) {
  std::string name = metadata.name;
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto has_any = [](std::string_view text, std::initializer_list<std::string_view> parts) {
    return std::any_of(parts.begin(), parts.end(), [&](std::string_view part) {
      return text.find(part) != std::string_view::npos;
    });
  };
  const auto strip_left = [&](std::string_view text) {
    if (const Token token = find(text); token != kNoToken) add_flag(token, kTokenStripLeft);
  };
  if (has_any(metadata.pre, {"jina-v2-de", "jina-v2-es", "jina-v2-code"}) ||
      has_any(metadata.architecture, {"nomic-bert-moe", "jina-bert-v3"})) {
    strip_left("<mask>");
  } else if (has_any(name, {"phi-3", "phi3"})) {
    for (Token token = 0; token < size(); ++token) {
      if (is(token, kTokenControl | kTokenUserDefined | kTokenUnknown)) {
        add_flag(token, kTokenStripRight);
      }
    }
    for (const std::string_view text : {"<unk>", "<s>", "<|endoftext|>"}) {
      const Token token = find(text);
      if (token == kNoToken) continue;
      flags_[static_cast<size_t>(token)] &= static_cast<uint8_t>(~kTokenStripRight);
    }
  } else if (has_any(name, {"modern-bert"})) {
    strip_left("[MASK]");
  }
}

bool Vocabulary::ends_generation(Token token) const { return contains(end_tokens_, token); }
bool Vocabulary::is_template_only(Token token) const { return contains(template_only_, token); }

Bytes Vocabulary::bytes() const {
  const size_t lists = byte_tokens_.capacity() + end_tokens_.capacity() + template_only_.capacity();
  return {static_cast<int64_t>(texts_.bytes() + flags_.capacity() + lists * sizeof(Token))};
}

}  // namespace ration
