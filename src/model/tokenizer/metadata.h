// model/tokenizer/metadata.h - what a GGUF file says about its tokenizer, read and range-checked.
//
// A plain struct, so that tests and the fuzz target can make one up without a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"
#include "model/tokenizer/tokenizer.h"

namespace ration {

// GGUF's numbers for the kinds of token.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // never written by a user: <s>, <|im_end|>
  kUserDefined = 4,  // recognised in any text before everything else
  kUnused = 5,
  kByte = 6,  // "<0x0A>"
};

// A token that the file or a rule names for a purpose.
struct SpecialIds {
  std::optional<Token> bos, eos, eot, eom, unknown, separator;
  std::optional<Token> fim_prefix, fim_suffix, fim_middle, fim_pad, fim_repository, fim_separator;
};

// Views point into the file (or whatever the maker of the struct keeps alive).
struct TokenizerMetadata {
  std::string model;         // "gpt2", "llama", "bert", "t5", ...
  std::string pre;           // "" when the file has none
  std::string architecture;  // some rules depend on these two
  std::string name;
  std::vector<std::string_view> tokens;
  std::vector<float> scores;             // empty, or one a token
  std::vector<TokenType> types;          // empty, or one a token
  std::vector<std::string_view> merges;  // "left right", best first
  bool has_merges = false;               // an empty list is not the same as none
  SpecialIds ids;                        // each inside the vocabulary
  std::optional<bool> add_bos, add_eos, add_space_prefix, remove_extra_whitespaces;
  std::optional<bool> lowercase, strip_accents;
  // The "bert" family: as BERT's own tokenizer, where the tokenizers of GGUF files take short cuts.
  std::optional<bool> wordpiece_exact;
  std::span<const std::byte> charsmap;  // precompiled normaliser of the "t5" family
};

// kCorrupt names the key, what was found and what was wanted.
Result<TokenizerMetadata> read_metadata(const Gguf& file);

// What read_metadata checks beyond types: counts that must agree, ids in range, finite scores.
// Every maker of a tokenizer relies on it.
Status check_metadata(const TokenizerMetadata& metadata);

// The tokenizer itself. REQUIRES nothing: calls check_metadata. Copies what it needs.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(const TokenizerMetadata& metadata);

}  // namespace ration
