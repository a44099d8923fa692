#include "model/template/lexer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"
#include "model/template/escape.h"
#include "model/template/unicode.h"

namespace ration::jinja {
namespace {

struct Spelling {
  std::string_view text;
  TokenKind kind;
};

// Longest first.
constexpr std::array kOperators{
    Spelling{"//", TokenKind::kFloorDivide},  Spelling{"**", TokenKind::kPower},
    Spelling{"==", TokenKind::kEqual},        Spelling{"!=", TokenKind::kNotEqual},
    Spelling{">=", TokenKind::kGreaterEqual}, Spelling{"<=", TokenKind::kLessEqual},
    Spelling{"+", TokenKind::kAdd},           Spelling{"-", TokenKind::kSubtract},
    Spelling{"*", TokenKind::kMultiply},      Spelling{"/", TokenKind::kDivide},
    Spelling{"%", TokenKind::kModulo},        Spelling{"~", TokenKind::kTilde},
    Spelling{">", TokenKind::kGreater},       Spelling{"<", TokenKind::kLess},
    Spelling{"=", TokenKind::kAssign},        Spelling{".", TokenKind::kDot},
    Spelling{":", TokenKind::kColon},         Spelling{",", TokenKind::kComma},
    Spelling{"|", TokenKind::kPipe},          Spelling{";", TokenKind::kSemicolon},
    Spelling{"(", TokenKind::kLeftParen},     Spelling{")", TokenKind::kRightParen},
    Spelling{"[", TokenKind::kLeftBracket},   Spelling{"]", TokenKind::kRightBracket},
    Spelling{"{", TokenKind::kLeftBrace},     Spelling{"}", TokenKind::kRightBrace},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The length of `digits` that may have single underscores between them, at the start of `text`.
template <class IsDigit>
size_t digits_length(std::string_view text, IsDigit is_wanted) {
  size_t end = 0;
  while (end < text.size()) {
    const size_t digit = end > 0 && text[end] == '_' ? end + 1 : end;
    if (digit >= text.size() || !is_wanted(text[digit])) break;
    end = digit + 1;
  }
  return end;
}

// The length of a float at the start of `text`; 0 when there is none.
size_t float_length(std::string_view text) {
  const size_t whole = digits_length(text, is_digit);
  if (whole == 0) return 0;
  size_t end = whole;
  if (end < text.size() && text[end] == '.') {
    const size_t fraction = digits_length(text.substr(end + 1), is_digit);
    if (fraction > 0) end += 1 + fraction;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    size_t exponent = end + 1;
    if (exponent < text.size() && (text[exponent] == '+' || text[exponent] == '-')) ++exponent;
    const size_t digits = digits_length(text.substr(std::min(exponent, text.size())), is_digit);
    if (digits > 0) return exponent + digits;
  }
  return end > whole ? end : 0;
}

size_t integer_length(std::string_view text) {
  if (text[0] != '0') return digits_length(text, is_digit);
  const auto prefixed = [&](auto is_wanted) {
    size_t start = 2;
    if (start < text.size() && text[start] == '_') ++start;
    const size_t digits = start < text.size() ? digits_length(text.substr(start), is_wanted) : 0;
    return digits > 0 ? start + digits : 0;
  };
  size_t length = 0;
  switch (text.size() > 1 ? text[1] | 0x20 : 0) {
    case 'b':
      length = prefixed([](char c) { return c == '0' || c == '1'; });
      break;
    case 'o':
      length = prefixed([](char c) { return c >= '0' && c <= '7'; });
      break;
    case 'x':
      length = prefixed([](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; });
      break;
    default:
      break;
  }
  return length > 0 ? length : digits_length(text, [](char c) { return c == '0'; });
}

char closing(char opening) { return opening == '(' ? ')' : opening == '[' ? ']' : '}'; }

}  // namespace

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kEnd:
      return "end of template";
    case TokenKind::kData:
      return "template text";
    case TokenKind::kOutputBegin:
      return "'{{'";
    case TokenKind::kOutputEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kName:
      return fmt::format("'{}'", token.text);
    case TokenKind::kString:
      return "a string";
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return token.text;
    default:
      break;
  }
  const auto spelling = std::ranges::find(kOperators, token.kind, &Spelling::kind);
  return spelling == kOperators.end() ? "a token" : fmt::format("'{}'", spelling->text);
}

std::string Lexer::normalized(std::string_view source) {
  std::string lines;
  lines.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    lines += source[i] == '\r' ? '\n' : source[i];
  }
  if (lines.ends_with('\n')) lines.pop_back();
  return lines;
}

Error Lexer::error(std::string_view message) const {
  return Error{Code::kInvalid, fmt::format("template line {}: {}", line_, message)};
}

size_t Lexer::skip_space(size_t position) const {
  return position + leading_space(std::string_view(source_).substr(position));
}

char Lexer::sign_at(size_t position) const {
  return at(position, "-") || at(position, "+") ? source_[position] : '\0';
}

void Lexer::advance_to(size_t position) {
  const auto begin = source_.begin();
  line_ += static_cast<uint32_t>(std::count(begin + static_cast<ptrdiff_t>(position_),
                                            begin + static_cast<ptrdiff_t>(position), '\n'));
  line_starting_ = position > position_ && source_[position - 1] == '\n';
  position_ = position;
}

Token Lexer::token_to(size_t end, TokenKind kind) {
  Token token{kind, line_, source_.substr(position_, end - position_)};
  advance_to(end);
  return token;
}

Result<Token> Lexer::next() {
  if (pending_) {
    Token token = std::move(*pending_);
    pending_.reset();
    return token;
  }
  while (position_ < source_.size()) {
    Result<std::optional<Token>> token = state_ == State::kData ? data() : tag();
    if (!token) return token.error();
    if (*token) return std::move(**token);
  }
  return Token{TokenKind::kEnd, line_, ""};
}

std::optional<Token> Lexer::data_before(size_t tag, char sign, bool strips_indent) const {
  const std::string_view text = std::string_view(source_).substr(position_, tag - position_);
  size_t size = text.size();
  if (sign == '-') {
    size -= trailing_space(text);
  } else if (sign != '+' && strips_indent) {
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if ((line > 0 || line_starting_) && leading_space(text.substr(line)) == size - line) {
      size = line;
    }
  }
  if (size == 0) return std::nullopt;
  return Token{TokenKind::kData, line_, std::string(text.substr(0, size))};
}

Result<std::optional<Token>> Lexer::data() {
  size_t begin = position_;
  while (true) {
    begin = source_.find('{', begin);
    if (begin == std::string::npos)
      return std::optional(token_to(source_.size(), TokenKind::kData));
    if (at(begin, "{{") || at(begin, "{%") || at(begin, "{#")) break;
    ++begin;
  }
  if (const std::optional<RawTag> tag = raw_tag(begin, "raw")) return raw(begin);
  const char sign = sign_at(begin + 2);
  std::optional<Token> before = data_before(begin, sign, source_[begin + 1] != '{');
  const char opener = source_[begin + 1];
  advance_to(begin + (sign ? 3 : 2));
  if (opener == '#') {
    if (Status skipped = skip_comment(position_); !skipped) return skipped.error();
    return before;
  }
  state_ = opener == '{' ? State::kOutput : State::kBlock;
  pending_ = Token{opener == '{' ? TokenKind::kOutputBegin : TokenKind::kBlockBegin, line_, ""};
  if (before) return before;
  return std::exchange(pending_, std::nullopt);
}

Status Lexer::skip_comment(size_t begin) {
  const size_t end = source_.find("#}", begin);
  // Jinja does not notice one that is opened by the template's last characters.
  if (begin == source_.size()) return {};
  if (end == std::string::npos) return error("missing end of comment");
  const char sign = end > begin ? sign_at(end - 1) : '\0';
  size_t after = end + 2;
  if (sign == '-') after = skip_space(after);
  if (!sign && at(after, "\n")) ++after;
  advance_to(after);
  return {};
}

std::optional<Lexer::RawTag> Lexer::raw_tag(size_t tag, std::string_view word) const {
  if (!at(tag, "{%")) return std::nullopt;
  const char sign = sign_at(tag + 2);
  size_t end = skip_space(tag + (sign ? 3 : 2));
  if (!at(end, word)) return std::nullopt;
  end = skip_space(end + word.size());
  if (at(end, "-%}")) return RawTag{skip_space(end + 3), sign};
  const bool closes = word == "endraw";
  if (closes && at(end, "+%}")) return RawTag{end + 3, sign};
  if (!at(end, "%}")) return std::nullopt;
  end += 2;
  if (closes && at(end, "\n")) ++end;
  return RawTag{end, sign};
}

Result<std::optional<Token>> Lexer::raw(size_t begin) {
  const RawTag opening = *raw_tag(begin, "raw");
  std::optional<Token> before = data_before(begin, opening.sign, true);
  advance_to(opening.end);
  size_t end = position_;
  std::optional<RawTag> closes;
  if (end == source_.size()) return before;
  while (!closes) {
    end = source_.find("{%", end);
    if (end == std::string::npos) return error("missing end of raw block");
    closes = raw_tag(end, "endraw");
    if (!closes) ++end;
  }
  std::optional<Token> inside = data_before(end, closes->sign, true);
  advance_to(closes->end);
  if (!before) return inside;
  pending_ = std::move(inside);
  return before;
}

std::optional<Token> Lexer::tag_end() {
  const bool output = state_ == State::kOutput;
  const std::string_view plain = output ? "}}" : "%}";
  const char sign = sign_at(position_);
  if ((output && sign == '+') || !at(position_ + (sign ? 1 : 0), plain)) return std::nullopt;
  size_t end = position_ + (sign ? 3 : 2);
  if (sign == '-') end = skip_space(end);
  if (!sign && !output && at(end, "\n")) ++end;
  state_ = State::kData;
  return token_to(end, output ? TokenKind::kOutputEnd : TokenKind::kBlockEnd);
}

Result<std::optional<Token>> Lexer::tag() {
  if (open_brackets_.empty()) {
    if (std::optional<Token> end = tag_end()) return end;
  }
  if (const size_t space = leading_space(rest()); space > 0) {
    advance_to(position_ + space);
    return std::optional<Token>();
  }
  const std::string_view text = rest();
  if (is_digit(text[0])) {
    const bool after_dot = position_ > 0 && source_[position_ - 1] == '.';
    const size_t real = after_dot ? 0 : float_length(text);
    const size_t length = real > 0 ? real : integer_length(text);
    Token token = token_to(position_ + length, real > 0 ? TokenKind::kFloat : TokenKind::kInteger);
    std::erase(token.text, '_');
    return std::optional(std::move(token));
  }
  if (starts_name(read_code_point(text).value)) return std::optional(name());
  Result<Token> token = text[0] == '\'' || text[0] == '"' ? string() : operation();
  if (!token) return token.error();
  return std::optional(std::move(*token));
}

Token Lexer::name() {
  size_t end = position_;
  while (end < source_.size()) {
    const CodePoint point = read_code_point(std::string_view(source_).substr(end));
    if (!continues_name(point.value)) break;
    end += static_cast<size_t>(point.length);
  }
  return token_to(end, TokenKind::kName);
}

Result<Token> Lexer::string() {
  const char quote = source_[position_];
  size_t end = position_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) return error("string without an end");
  Token token = token_to(end + 1, TokenKind::kString);
  Result<std::string> value =
      unescape_literal(std::string_view(token.text).substr(1, token.text.size() - 2));
  if (!value) return error(value.error().message);
  token.text = std::move(*value);
  return token;
}

Result<Token> Lexer::operation() {
  const auto found = std::ranges::find_if(
      kOperators, [this](const Spelling& spelling) { return rest().starts_with(spelling.text); });
  if (found == kOperators.end()) {
    const auto length = static_cast<size_t>(read_code_point(rest()).length);
    return error(fmt::format("unexpected character '{}'", rest().substr(0, length)));
  }
  const char c = found->text[0];
  if (c == '(' || c == '[' || c == '{') {
    open_brackets_.push_back(closing(c));
  } else if (c == ')' || c == ']' || c == '}') {
    if (open_brackets_.empty()) return error(fmt::format("unexpected '{}'", c));
    if (open_brackets_.back() != c) {
      return error(fmt::format("found '{}', wanted '{}'", c, open_brackets_.back()));
    }
    open_brackets_.pop_back();
  }
  return token_to(position_ + found->text.size(), found->kind);
}

}  // namespace ration::jinja
