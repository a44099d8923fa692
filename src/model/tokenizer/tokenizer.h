// model/tokenizer/tokenizer.h - text to token ids and back, from a GGUF file's own vocabulary.
//
// Families: BPE ("gpt2" with its pre-tokenisers), SPM ("llama"), WPM ("bert"), UGM ("t5"). An
// unknown family or pre-tokeniser is refused by name. To add a pre-tokeniser: one row in the table
// of tokenizer/pre_tokenizer.cpp, then test/model/tokenizer/make_expected.py.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"
#include "model/prompt.h"

namespace ration {

using Token = int32_t;

struct EncodeOptions {
  bool add_special = true;     // BOS / EOS (or CLS / SEP) where the file's own rules ask for them
  bool parse_special = false;  // recognise special tokens written in the text
};

// shared-const: any number of threads may encode and decode at once.
class Tokenizer {
 public:
  // kUnsupported names the tokenizer.ggml.model or .pre that we do not know; kCorrupt when the
  // tables contradict each other. The tokenizer copies what it needs: the file may be closed
  // afterwards.
  static Result<std::unique_ptr<Tokenizer>> make(const Gguf& file);
  virtual ~Tokenizer() = default;

  // Any bytes are accepted; broken UTF-8 is handled as the family does (U+FFFD, byte tokens or
  // unknown). Text never becomes a control token unless `parse_special`, whatever it spells;
  // user-defined tokens are recognised always. REQUIRES: text shorter than 4 GiB. Time is about
  // linear in the text, memory at most about 60 bytes a byte of text.
  virtual std::vector<Token> encode(std::string_view text, const EncodeOptions& options) const = 0;
  // Special tokens are looked for in each stretch of one origin, and control tokens only in what
  // the template wrote. What is left of neighbouring stretches is one text again, as it was when
  // the model was trained: cutting a text into spans does not change its tokens.
  virtual std::vector<Token> encode(const Prompt& prompt, bool add_special) const = 0;

  // The bytes a token stands for; a control token gives "" unless `show_special`, an id outside of
  // the vocabulary always. The pieces of a token list joined are its text: bytes may be cut inside
  // a code point, and SPM's first word keeps the space that was put before it.
  virtual std::string piece(Token token, bool show_special) const = 0;
  virtual std::string decode(std::span<const Token> tokens, bool show_special) const = 0;

  virtual int32_t size() const = 0;
  virtual Token bos() const = 0;  // -1 where there is none
  virtual Token eos() const = 0;
  virtual bool adds_bos() const = 0;
  virtual bool adds_eos() const = 0;
  // Every token that ends an answer: eos, eot, <|im_end|> and their like.
  virtual bool ends_generation(Token token) const = 0;
  virtual bool is_control(Token token) const = 0;
  // "BPE smollm" and the like, for people.
  virtual std::string description() const = 0;
  // Bytes the tables take, for the budget.
  virtual Bytes bytes() const = 0;
};

}  // namespace ration
