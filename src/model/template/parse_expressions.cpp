// The expressions of the grammar, loosest binding first: choice, or, and, not, comparison, + and -,
// ~, * / // %, **, sign, postfix, filters and tests.
#include <fmt/core.h>

#include <charconv>
#include <cstdlib>

#include "model/template/parser.h"
#include "model/template/tables.h"

namespace ration::jinja {

using ExpressionKind = Expression::Kind;

ExpressionPtr Parser::parse_expression(bool choices) {
  const Nested nested(*this);
  if (failed()) return make(ExpressionKind::kConstant);
  return choices ? parse_choice() : parse_or();
}

ExpressionPtr Parser::parse_choice() {
  const size_t unknown_before = unknown_.size();
  ExpressionPtr first = parse_or();
  int links = 0;
  while (is_word("if") && link(links)) {
    ExpressionPtr choice = make(ExpressionKind::kChoice, std::move(first));
    advance();
    choice->children.push_back(parse_or());
    if (skip_word("else")) choice->children.push_back(parse_expression());
    first = std::move(choice);
    unknown_.resize(unknown_before);  // a choice is soft, all three parts of it
  }
  return first;
}

ExpressionPtr Parser::parse_or() {
  ExpressionPtr first = parse_and();
  if (!is_word("or")) return first;
  ExpressionPtr chain = make(ExpressionKind::kOr, std::move(first));
  while (skip_word("or")) chain->children.push_back(parse_and());
  return chain;
}

ExpressionPtr Parser::parse_and() {
  ExpressionPtr first = parse_not();
  if (!is_word("and")) return first;
  ExpressionPtr chain = make(ExpressionKind::kAnd, std::move(first));
  while (skip_word("and")) chain->children.push_back(parse_not());
  return chain;
}

ExpressionPtr Parser::parse_not() {
  if (!is_word("not")) return parse_compare();
  const Nested nested(*this);
  ExpressionPtr negation = make(ExpressionKind::kNot);
  advance();
  negation->children.push_back(parse_not());
  return negation;
}

namespace {

constexpr OperatorToken kComparisons[] = {
    {TokenKind::kEqual, Operator::kEqual},     {TokenKind::kNotEqual, Operator::kNotEqual},
    {TokenKind::kLess, Operator::kLess},       {TokenKind::kLessEqual, Operator::kLessEqual},
    {TokenKind::kGreater, Operator::kGreater}, {TokenKind::kGreaterEqual, Operator::kGreaterEqual},
};
constexpr OperatorToken kSums[] = {
    {TokenKind::kAdd, Operator::kAdd},
    {TokenKind::kSubtract, Operator::kSubtract},
};
constexpr OperatorToken kProducts[] = {
    {TokenKind::kMultiply, Operator::kMultiply},
    {TokenKind::kDivide, Operator::kDivide},
    {TokenKind::kFloorDivide, Operator::kFloorDivide},
    {TokenKind::kModulo, Operator::kModulo},
};
constexpr OperatorToken kPowers[] = {{TokenKind::kPower, Operator::kPower}};

std::optional<Operator> find_operator(std::span<const OperatorToken> tokens, TokenKind token) {
  for (const OperatorToken& known : tokens) {
    if (known.token == token) return known.operation;
  }
  return std::nullopt;
}

}  // namespace

ExpressionPtr Parser::parse_compare() {
  ExpressionPtr first = parse_sum();
  ExpressionPtr chain;
  while (!failed()) {
    std::optional<Operator> operation = find_operator(kComparisons, current_.kind);
    if (is_word("in")) operation = Operator::kIn;
    if (is_word("not")) {
      const Token& after = peek();
      if (after.kind == TokenKind::kName && after.text == "in") {
        advance();
        operation = Operator::kNotIn;
      }
    }
    if (!operation) break;
    advance();
    if (!chain) chain = make(ExpressionKind::kCompare, std::move(first));
    chain->operators.push_back(*operation);
    chain->children.push_back(parse_sum());
  }
  return chain ? std::move(chain) : std::move(first);
}

ExpressionPtr Parser::parse_chain(ExpressionPtr (Parser::*operand)(),
                                  std::span<const OperatorToken> tokens) {
  ExpressionPtr first = (this->*operand)();
  ExpressionPtr chain;
  while (const std::optional<Operator> operation = find_operator(tokens, current_.kind)) {
    advance();
    if (!chain) chain = make(ExpressionKind::kArithmetic, std::move(first));
    chain->operators.push_back(*operation);
    chain->children.push_back((this->*operand)());
  }
  return chain ? std::move(chain) : std::move(first);
}

ExpressionPtr Parser::parse_sum() { return parse_chain(&Parser::parse_concat, kSums); }

ExpressionPtr Parser::parse_concat() {
  ExpressionPtr first = parse_product();
  if (!is(TokenKind::kTilde)) return first;
  ExpressionPtr chain = make(ExpressionKind::kConcat, std::move(first));
  while (skip(TokenKind::kTilde)) chain->children.push_back(parse_product());
  return chain;
}

ExpressionPtr Parser::parse_product() { return parse_chain(&Parser::parse_power, kProducts); }

ExpressionPtr Parser::parse_power() { return parse_chain(&Parser::parse_signed, kPowers); }

ExpressionPtr Parser::parse_signed() { return parse_unary(/*filters=*/true); }

ExpressionPtr Parser::parse_unary(bool filters) {
  ExpressionPtr expression;
  if (is(TokenKind::kSubtract) || is(TokenKind::kAdd)) {
    const Nested nested(*this);
    expression =
        make(is(TokenKind::kSubtract) ? ExpressionKind::kNegative : ExpressionKind::kPositive);
    advance();
    expression->children.push_back(parse_unary(/*filters=*/false));
  } else {
    expression = parse_primary();
  }
  expression = parse_postfix(std::move(expression));
  return filters ? parse_filters_and_tests(std::move(expression)) : std::move(expression);
}

ExpressionPtr Parser::parse_primary(bool namespaces) {
  switch (current_.kind) {
    case TokenKind::kName:
      return parse_name(namespaces);
    case TokenKind::kString:
      return parse_string();
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return parse_number();
    case TokenKind::kLeftBracket:
      return parse_list();
    case TokenKind::kLeftBrace:
      return parse_dict();
    case TokenKind::kLeftParen: {
      advance();
      ExpressionPtr inside = parse_tuple({.parentheses = true});
      expect(TokenKind::kRightParen, "')'");
      return inside;
    }
    default:
      break;
  }
  fail(fmt::format("unexpected {}", describe(current_)));
  return make(ExpressionKind::kConstant);
}

ExpressionPtr Parser::parse_name(bool namespaces) {
  ExpressionPtr expression = make(ExpressionKind::kConstant);
  const std::string name = current_.text;
  advance();
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    expression->constant = Value::of(name[0] == 't' || name[0] == 'T');
    return expression;
  }
  if (name == "none" || name == "None") {
    expression->constant = Value::none();
    return expression;
  }
  expression->kind = ExpressionKind::kName;
  expression->name = name_id(name);
  if (namespaces && skip(TokenKind::kDot)) {
    ExpressionPtr attribute = make(ExpressionKind::kAttribute, std::move(expression));
    attribute->name = name_id(expect(TokenKind::kName, "an attribute").text);
    return attribute;
  }
  note_load(name);
  return expression;
}

ExpressionPtr Parser::parse_string() {
  ExpressionPtr expression = make(ExpressionKind::kConstant);
  std::string text = std::move(current_.text);
  advance();
  while (is(TokenKind::kString)) {  // adjacent literals are one
    text += current_.text;
    advance();
  }
  expression->constant = constant(std::move(text));
  return expression;
}

ExpressionPtr Parser::parse_number() {
  ExpressionPtr expression = make(ExpressionKind::kConstant);
  const std::string& digits = current_.text;
  if (is(TokenKind::kFloat)) {
    // Too large a float is infinity, as in Python.
    expression->constant = Value::of(std::strtod(digits.c_str(), nullptr));
  } else {
    const char prefix = digits.size() > 1 ? static_cast<char>(digits[1] | 0x20) : '\0';
    const int base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
    const char* begin = digits.data() + (base == 10 ? 0 : 2);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(begin, digits.data() + digits.size(), value, base);
    if (error != std::errc()) fail(fmt::format("the number {:.40} is too large", digits));
    expression->constant = Value::of_wide(value);
  }
  advance();
  return expression;
}

ExpressionPtr Parser::parse_tuple(const TupleOptions& options) {
  const Nested nested(*this);
  std::vector<ExpressionPtr> items;
  bool tuple = false;
  const auto ends = [&] {
    return is(TokenKind::kOutputEnd) || is(TokenKind::kBlockEnd) || is(TokenKind::kRightParen) ||
           (!options.end_word.empty() && is_word(options.end_word));
  };
  while (!failed()) {
    if (!items.empty()) expect(TokenKind::kComma, "','");
    if (ends()) break;
    items.push_back(options.targets ? parse_primary(options.namespaces)
                                    : parse_expression(options.choices));
    if (!is(TokenKind::kComma)) break;
    tuple = true;
  }
  if (!tuple && !items.empty()) return std::move(items[0]);
  if (!tuple && !options.parentheses) {
    fail(fmt::format("found {}, wanted an expression", describe(current_)));
  }
  ExpressionPtr expression = make(ExpressionKind::kTuple);
  expression->children = std::move(items);
  return expression;
}

ExpressionPtr Parser::parse_list() {
  ExpressionPtr list = make(ExpressionKind::kList);
  advance();
  while (!is(TokenKind::kRightBracket) && !failed()) {
    if (!list->children.empty()) expect(TokenKind::kComma, "','");
    if (is(TokenKind::kRightBracket)) break;
    list->children.push_back(parse_expression());
  }
  expect(TokenKind::kRightBracket, "']'");
  return list;
}

ExpressionPtr Parser::parse_dict() {
  ExpressionPtr dict = make(ExpressionKind::kDict);
  advance();
  while (!is(TokenKind::kRightBrace) && !failed()) {
    if (!dict->children.empty()) expect(TokenKind::kComma, "','");
    if (is(TokenKind::kRightBrace)) break;
    dict->children.push_back(parse_expression());
    expect(TokenKind::kColon, "':'");
    dict->children.push_back(parse_expression());
  }
  expect(TokenKind::kRightBrace, "'}'");
  return dict;
}

}  // namespace ration::jinja
