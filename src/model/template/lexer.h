// model/template/lexer.h - template source into tokens, with Jinja's rules for white space around
// tags as chat templates are rendered: trim_blocks and lstrip_blocks on, one last newline dropped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ration::jinja {

enum class TokenKind : uint8_t {
  kEnd,
  kData,
  kOutputBegin,
  kOutputEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kTilde,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kAssign,
  kDot,
  kColon,
  kComma,
  kPipe,
  kSemicolon,
  kLeftParen,
  kRightParen,
  kLeftBracket,
  kRightBracket,
  kLeftBrace,
  kRightBrace
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  uint32_t line = 1;
  std::string text;  // data, a name, a string's value (escapes resolved), a number's digits
};

// What an error message calls a token.
std::string describe(const Token& token);

// single-thread: gives one token a call.
class Lexer {
 public:
  // `source`: valid UTF-8, with lines ended by "\n" (see normalized()).
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  // Line ends become "\n"; a newline at the very end is dropped.
  static std::string normalized(std::string_view source);

  // kInvalid with the line. After the end, kEnd again and again.
  Result<Token> next();

 private:
  enum class State : uint8_t { kData, kOutput, kBlock };

  // Each gives nothing when what it passed is no token (white space, a comment).
  Result<std::optional<Token>> data();
  Result<std::optional<Token>> tag();
  std::optional<Token> tag_end();
  Status skip_comment(size_t begin);
  Result<std::optional<Token>> raw(size_t begin);

  Token name();
  Result<Token> string();
  Result<Token> operation();

  // The data [position_, tag) with the white space removed that the tag's sign asks for.
  std::optional<Token> data_before(size_t tag, char sign, bool strips_indent) const;
  // Where "{%", "raw" or "endraw" and its end finish, if they are all at `tag`.
  struct RawTag {
    size_t end;
    char sign;
  };
  std::optional<RawTag> raw_tag(size_t tag, std::string_view word) const;

  bool at(size_t position, std::string_view wanted) const {
    return std::string_view(source_).substr(std::min(position, source_.size())).starts_with(wanted);
  }
  char sign_at(size_t position) const;
  std::string_view rest() const { return std::string_view(source_).substr(position_); }
  size_t skip_space(size_t position) const;
  void advance_to(size_t position);  // counts lines
  Token token_to(size_t end, TokenKind kind);
  Error error(std::string_view message) const;

  std::string source_;
  size_t position_ = 0;
  uint32_t line_ = 1;
  State state_ = State::kData;
  std::optional<Token> pending_;     // the tag's begin, after the data before it
  bool line_starting_ = true;        // the last token ended with a newline
  std::vector<char> open_brackets_;  // what must close before the tag may end
};

}  // namespace ration::jinja
