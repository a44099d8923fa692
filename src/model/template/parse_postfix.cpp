// What follows an expression: subscripts, calls, filters and tests.
#include <fmt/core.h>

#include "model/template/parser.h"
#include "model/template/tables.h"

namespace ration::jinja {

using ExpressionKind = Expression::Kind;

ExpressionPtr Parser::parse_postfix(ExpressionPtr expression) {
  for (int links = 0; !failed();) {
    if (is(TokenKind::kDot)) {
      expression = parse_dot(std::move(expression));
    } else if (is(TokenKind::kLeftBracket)) {
      expression = parse_subscript(std::move(expression));
    } else if (is(TokenKind::kLeftParen)) {
      expression = parse_call(std::move(expression));
    } else {
      break;
    }
    link(links);
  }
  return expression;
}

ExpressionPtr Parser::parse_filters_and_tests(ExpressionPtr expression) {
  for (int links = 0; !failed();) {
    if (is(TokenKind::kPipe)) {
      expression = parse_filter(std::move(expression));
    } else if (is_word("is")) {
      expression = parse_test(std::move(expression));
    } else if (is(TokenKind::kLeftParen)) {
      expression = parse_call(std::move(expression));
    } else {
      break;
    }
    link(links);
  }
  return expression;
}

ExpressionPtr Parser::parse_dot(ExpressionPtr expression) {
  ExpressionPtr result = make(ExpressionKind::kAttribute, std::move(expression));
  advance();
  if (is(TokenKind::kInteger)) {
    result->kind = ExpressionKind::kItem;
    result->children.push_back(parse_number());
    return result;
  }
  result->name = name_id(expect(TokenKind::kName, "a name or number").text);
  return result;
}

ExpressionPtr Parser::parse_subscript(ExpressionPtr expression) {
  ExpressionPtr result = make(ExpressionKind::kItem, std::move(expression));
  advance();
  std::vector<ExpressionPtr> parts;
  bool slice = false;
  if (!is(TokenKind::kColon)) parts.push_back(parse_expression());
  if (is(TokenKind::kColon)) {
    slice = true;
    if (parts.empty()) parts.push_back(nullptr);
    while (parts.size() < 3 && skip(TokenKind::kColon)) {
      const bool given = !is(TokenKind::kColon) && !is(TokenKind::kRightBracket);
      parts.push_back(given ? parse_expression() : nullptr);
    }
    parts.resize(3);
  } else if (is(TokenKind::kComma)) {  // x[a, b]: a tuple is the key
    ExpressionPtr key = make(ExpressionKind::kTuple);
    key->children = std::move(parts);
    while (skip(TokenKind::kComma)) key->children.push_back(parse_expression());
    parts.clear();
    parts.push_back(std::move(key));
  }
  expect(TokenKind::kRightBracket, "']'");
  if (slice) result->kind = ExpressionKind::kSlice;
  for (ExpressionPtr& part : parts) result->children.push_back(std::move(part));
  return result;
}

ExpressionPtr Parser::parse_call(ExpressionPtr expression) {
  ExpressionPtr call = make(ExpressionKind::kCall, std::move(expression));
  call->arguments = parse_arguments();
  return call;
}

std::unique_ptr<Arguments> Parser::parse_arguments() {
  auto arguments = std::make_unique<Arguments>();
  expect(TokenKind::kLeftParen, "'('");
  for (bool first = true; !is(TokenKind::kRightParen) && !failed(); first = false) {
    if (!first) expect(TokenKind::kComma, "',' or ')'");
    if (is(TokenKind::kRightParen)) break;
    parse_argument(*arguments);
  }
  expect(TokenKind::kRightParen, "')'");
  return arguments;
}

void Parser::parse_argument(Arguments& arguments) {
  if (skip(TokenKind::kMultiply)) {
    if (arguments.more_positional || arguments.more_keywords) fail("misplaced '*' argument");
    arguments.more_positional = parse_expression();
    return;
  }
  if (skip(TokenKind::kPower)) {
    if (arguments.more_keywords) fail("misplaced '**' argument");
    arguments.more_keywords = parse_expression();
    return;
  }
  if (is(TokenKind::kName) && peek().kind == TokenKind::kAssign) {
    if (arguments.more_keywords) fail("keyword argument after a '**' argument");
    const NameId name = name_id(current_.text);
    for (const auto& [other, value] : arguments.keywords) {
      if (other == name) fail(fmt::format("argument '{}' appears twice", current_.text));
    }
    advance();
    advance();
    arguments.keywords.emplace_back(name, parse_expression());
    return;
  }
  if (arguments.more_positional || arguments.more_keywords || !arguments.keywords.empty()) {
    fail("positional argument after keyword arguments");
  }
  arguments.positional.push_back(parse_expression());
}

std::string Parser::parse_dotted_name() {
  std::string name = expect(TokenKind::kName, "a name").text;
  while (skip(TokenKind::kDot)) name += "." + expect(TokenKind::kName, "a name").text;
  return name;
}

// A chain of filters; `expression` null: they work on the text of a block.
ExpressionPtr Parser::parse_filter(ExpressionPtr expression, bool without_pipe) {
  for (int links = 0; (is(TokenKind::kPipe) || without_pipe) && link(links);) {
    if (!without_pipe) advance();
    without_pipe = false;
    ExpressionPtr filter = make(ExpressionKind::kFilter, std::move(expression));
    const std::string name = parse_dotted_name();
    filter->name = name_id(name);
    filter->row = find_filter(name);
    note_unknown("filter", name, filter->row, unsupported_filter(name));
    filter->arguments =
        is(TokenKind::kLeftParen) ? parse_arguments() : std::make_unique<Arguments>();
    expression = std::move(filter);
  }
  return expression;
}

ExpressionPtr Parser::parse_test(ExpressionPtr expression) {
  ExpressionPtr test = make(ExpressionKind::kTest, std::move(expression));
  advance();
  const bool negated = skip_word("not");
  const std::string name = parse_dotted_name();
  test->name = name_id(name);
  test->row = find_test(name);
  note_unknown("test", name, test->row, false);
  test->arguments = std::make_unique<Arguments>();
  const bool argument = is(TokenKind::kString) || is(TokenKind::kInteger) ||
                        is(TokenKind::kFloat) || is(TokenKind::kLeftBracket) ||
                        is(TokenKind::kLeftBrace) ||
                        (is(TokenKind::kName) && !is_any_word({"else", "or", "and"}));
  if (is(TokenKind::kLeftParen)) {
    test->arguments = parse_arguments();
  } else if (is_word("is")) {
    fail("tests cannot be chained with 'is'");
  } else if (argument) {
    test->arguments->positional.push_back(parse_postfix(parse_primary()));
  }
  return negated ? make(ExpressionKind::kNot, std::move(test)) : std::move(test);
}

void Parser::note_unknown(std::string_view what, const std::string& name, int row,
                          bool unsupported) {
  if (unsupported)
    fail(Code::kUnsupported, fmt::format("the {} '{}' is not supported", what, name));
  if (row < 0 && !soft_) unknown_.push_back({current_.line, fmt::format("{} '{}'", what, name)});
}

}  // namespace ration::jinja
