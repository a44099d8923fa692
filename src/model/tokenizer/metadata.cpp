#include "model/tokenizer/metadata.h"

#include <fmt/core.h>

#include <cmath>
#include <memory>

namespace ration {

namespace {

// More than any vocabulary in use by an order of magnitude; the tables pack ids into 22 bits.
constexpr size_t kTokensMax = size_t{1} << 21;
constexpr size_t kMergesMax = (size_t{1} << 22) - 2;
constexpr size_t kTextBytesMax = size_t{1} << 31;

Error corrupt(std::string message) { return {Code::kCorrupt, std::move(message)}; }

struct IdKey {
  std::string_view key;
  std::optional<Token> SpecialIds::* id;
};
constexpr IdKey kIdKeys[] = {
    {"tokenizer.ggml.bos_token_id", &SpecialIds::bos},
    {"tokenizer.ggml.eos_token_id", &SpecialIds::eos},
    {"tokenizer.ggml.eot_token_id", &SpecialIds::eot},
    {"tokenizer.ggml.eom_token_id", &SpecialIds::eom},
    {"tokenizer.ggml.unknown_token_id", &SpecialIds::unknown},
    {"tokenizer.ggml.seperator_token_id", &SpecialIds::separator},  // spelt so in the format
    {"tokenizer.ggml.fim_pre_token_id", &SpecialIds::fim_prefix},
    {"tokenizer.ggml.fim_suf_token_id", &SpecialIds::fim_suffix},
    {"tokenizer.ggml.fim_mid_token_id", &SpecialIds::fim_middle},
    {"tokenizer.ggml.fim_pad_token_id", &SpecialIds::fim_pad},
    {"tokenizer.ggml.fim_rep_token_id", &SpecialIds::fim_repository},
    {"tokenizer.ggml.fim_sep_token_id", &SpecialIds::fim_separator},
    {"tokenizer.ggml.prefix_token_id", &SpecialIds::fim_prefix},  // older names
    {"tokenizer.ggml.suffix_token_id", &SpecialIds::fim_suffix},
    {"tokenizer.ggml.middle_token_id", &SpecialIds::fim_middle},
};

struct FlagKey {
  std::string_view key;
  std::optional<bool> TokenizerMetadata::* flag;
};
constexpr FlagKey kFlagKeys[] = {
    {"tokenizer.ggml.add_bos_token", &TokenizerMetadata::add_bos},
    {"tokenizer.ggml.add_eos_token", &TokenizerMetadata::add_eos},
    {"tokenizer.ggml.add_space_prefix", &TokenizerMetadata::add_space_prefix},
    {"tokenizer.ggml.remove_extra_whitespaces", &TokenizerMetadata::remove_extra_whitespaces},
    {"tokenizer.ggml.normalizer.lowercase", &TokenizerMetadata::lowercase},
    {"tokenizer.ggml.normalizer.strip_accents", &TokenizerMetadata::strip_accents},
    {"tokenizer.ggml.wordpiece_exact", &TokenizerMetadata::wordpiece_exact},
};

struct StringKey {
  std::string_view key;
  std::string TokenizerMetadata::* text;
};
constexpr StringKey kStringKeys[] = {
    {"tokenizer.ggml.model", &TokenizerMetadata::model},
    {"tokenizer.ggml.pre", &TokenizerMetadata::pre},
    {"general.architecture", &TokenizerMetadata::architecture},
    {"general.name", &TokenizerMetadata::name},
};

Status read_scalars(const Gguf& file, TokenizerMetadata& metadata) {
  for (const auto& [key, text] : kStringKeys) {
    Result<std::optional<std::string_view>> found = file.find_string(key);
    if (!found) return found.error();
    if (*found) metadata.*text = std::string(**found);
  }
  for (const auto& [key, flag] : kFlagKeys) {
    Result<std::optional<bool>> found = file.find_bool(key);
    if (!found) return found.error();
    if (*found) metadata.*flag = **found;
  }
  for (const auto& [key, id] : kIdKeys) {
    Result<std::optional<int64_t>> found = file.find_int(key);
    if (!found) return found.error();
    // Writers that have no such token leave the key out or store -1 as a 32-bit number.
    if (!*found || **found == -1 || **found == UINT32_MAX) continue;
    if (**found < 0 || **found >= static_cast<int64_t>(metadata.tokens.size())) {
      return corrupt(
          fmt::format("{}: found {}, wanted an id below {}", key, **found, metadata.tokens.size()));
    }
    metadata.ids.*id = static_cast<Token>(**found);
  }
  return {};
}

Status read_tables(const Gguf& file, TokenizerMetadata& metadata) {
  Result<std::vector<std::string_view>> tokens = file.get_strings("tokenizer.ggml.tokens");
  if (!tokens) return tokens.error();
  metadata.tokens = std::move(*tokens);

  Result<std::vector<double>> scores = file.get_floats("tokenizer.ggml.scores");
  if (!scores) return scores.error();
  metadata.scores.reserve(scores->size());
  for (const double score : *scores) metadata.scores.push_back(static_cast<float>(score));

  Result<std::vector<int64_t>> types = file.get_ints("tokenizer.ggml.token_type");
  if (!types) return types.error();
  metadata.types.reserve(types->size());
  for (const int64_t type : *types) {
    if (type < 0 || type > static_cast<int64_t>(TokenType::kByte)) {
      return corrupt(fmt::format("tokenizer.ggml.token_type of token {}: found {}, wanted 0 to 6",
                                 metadata.types.size(), type));
    }
    metadata.types.push_back(static_cast<TokenType>(type));
  }

  metadata.has_merges = file.has("tokenizer.ggml.merges");
  Result<std::vector<std::string_view>> merges = file.get_strings("tokenizer.ggml.merges");
  if (!merges) return merges.error();
  metadata.merges = std::move(*merges);

  if (const GgufValue* map = file.find("tokenizer.ggml.precompiled_charsmap"); map != nullptr) {
    const bool octets =
        map->type == GgufValue::Type::kArray &&
        (map->element == GgufValue::Type::kU8 || map->element == GgufValue::Type::kI8);
    if (!octets) {
      return corrupt(
          fmt::format("tokenizer.ggml.precompiled_charsmap: found {} of {}, wanted array of u8",
                      type_name(map->type), type_name(map->element)));
    }
    metadata.charsmap = map->bytes;
  }
  return {};
}

}  // namespace

Result<TokenizerMetadata> read_metadata(const Gguf& file) {
  TokenizerMetadata metadata;
  if (!file.has("tokenizer.ggml.model")) return corrupt("key tokenizer.ggml.model is missing");
  if (Status status = read_tables(file, metadata); !status) return status.error();
  if (Status status = read_scalars(file, metadata); !status) return status.error();
  return metadata;
}

Status check_metadata(const TokenizerMetadata& metadata) {
  const size_t count = metadata.tokens.size();
  if (count == 0) return corrupt("tokenizer.ggml.tokens: found 0 tokens, wanted at least 1");
  if (count > kTokensMax || metadata.merges.size() > kMergesMax) {
    return Error{
        Code::kUnsupported,
        fmt::format("found a vocabulary of {} tokens and {} merges, wanted at most {} and {}",
                    count, metadata.merges.size(), kTokensMax, kMergesMax)};
  }
  if (!metadata.scores.empty() && metadata.scores.size() != count) {
    return corrupt(fmt::format("tokenizer.ggml.scores: found {}, wanted {}, one a token",
                               metadata.scores.size(), count));
  }
  if (!metadata.types.empty() && metadata.types.size() != count) {
    return corrupt(fmt::format("tokenizer.ggml.token_type: found {}, wanted {}, one a token",
                               metadata.types.size(), count));
  }
  for (size_t i = 0; i < metadata.scores.size(); ++i) {
    if (std::isfinite(metadata.scores[i])) continue;
    return corrupt(
        fmt::format("tokenizer.ggml.scores of token {}: found {}, wanted a finite number", i,
                    metadata.scores[i]));
  }
  for (const IdKey& key : kIdKeys) {
    const std::optional<Token> id = metadata.ids.*key.id;
    if (!id || (*id >= 0 && static_cast<size_t>(*id) < count)) continue;
    return corrupt(fmt::format("{}: found {}, wanted an id below {}", key.key, *id, count));
  }
  size_t text_bytes = 0;
  for (const std::string_view token : metadata.tokens) text_bytes += token.size();
  for (const std::string_view merge : metadata.merges) text_bytes += merge.size();
  if (text_bytes > kTextBytesMax / 4) {
    return Error{Code::kUnsupported, fmt::format("found {} bytes of token text, wanted at most {}",
                                                 text_bytes, kTextBytesMax / 4)};
  }
  return {};
}

}  // namespace ration
