#include "model/template/parser.h"

#include <fmt/core.h>

#include <algorithm>

#include "model/template/tables.h"

namespace ration::jinja {

Status Parser::parse() {
  advance();
  program_.body = parse_body({});
  if (!failed() && !unknown_.empty()) {
    error_ = Error{Code::kInvalid,
                   fmt::format("template line {}: no {}", unknown_[0].line, unknown_[0].what)};
  }
  if (failed()) return *error_;
  return {};
}

void Parser::fail(Code code, std::string_view message) {
  if (failed()) return;
  error_ = Error{code, fmt::format("template line {}: {}", current_.line, message)};
  current_ = Token{TokenKind::kEnd, current_.line, ""};
  next_.reset();
}

void Parser::refuse(std::string_view what, int64_t wanted, int64_t available) {
  if (failed()) return;
  fail(Code::kOverBudget, fmt::format("found {} {}, wanted at most {}", wanted, what, available));
  error_->shortfall = Shortfall{wanted, available};
}

void Parser::advance() {
  if (failed()) return;
  if (next_) {
    current_ = std::move(*next_);
    next_.reset();
    return;
  }
  Result<Token> token = lexer_.next();
  if (token) {
    current_ = std::move(*token);
  } else {
    error_ = token.error();
    current_ = Token{TokenKind::kEnd, current_.line, ""};
  }
}

const Token& Parser::peek() {
  if (!next_) {
    Token before = std::move(current_);
    advance();
    next_ = std::move(current_);
    current_ = failed() ? Token{TokenKind::kEnd, before.line, ""} : std::move(before);
  }
  return *next_;
}

bool Parser::is_any_word(std::initializer_list<std::string_view> words) const {
  return std::ranges::any_of(words, [this](std::string_view word) { return is_word(word); });
}

bool Parser::skip(TokenKind kind) {
  if (!is(kind)) return false;
  advance();
  return true;
}

bool Parser::skip_word(std::string_view word) {
  if (!is_word(word)) return false;
  advance();
  return true;
}

Token Parser::expect(TokenKind kind, std::string_view what) {
  if (!is(kind)) {
    fail(fmt::format("found {}, wanted {}", describe(current_), what));
    return current_;
  }
  Token token = current_;
  advance();
  return token;
}

void Parser::expect_word(std::string_view word) {
  if (!skip_word(word)) fail(fmt::format("found {}, wanted '{}'", describe(current_), word));
}

bool Parser::link(int& links) {
  const int links_max = 4 * limits_.depth_max;
  if (++links > links_max) refuse("links in a chain", links, links_max);
  return !failed();
}

NameId Parser::name_id(std::string_view name) {
  if (const auto known = program_.name_ids.find(name); known != program_.name_ids.end()) {
    return known->second;
  }
  const StringObject* string = &constant(std::string(name)).string();
  const auto id = static_cast<NameId>(program_.names.size());
  program_.names.push_back(string);
  program_.functions.push_back(find_function(name));
  program_.name_ids.emplace(string->text.view(), id);
  return id;
}

Value Parser::constant(std::string text) {
  return Value::of(program_.constants.make<StringObject>(Text(std::move(text), Origin::kTemplate)));
}

ExpressionPtr Parser::make(Expression::Kind kind) const {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->line = current_.line;
  return expression;
}

ExpressionPtr Parser::make(Expression::Kind kind, ExpressionPtr child) const {
  ExpressionPtr expression = make(kind);
  expression->children.push_back(std::move(child));
  return expression;
}

std::unique_ptr<Statement> Parser::make(Statement::Kind kind) const {
  auto statement = std::make_unique<Statement>();
  statement->kind = kind;
  statement->line = current_.line;
  return statement;
}

void Parser::note_load(std::string_view name) {
  if (name == "loop") {
    for (Statement* loop : for_bodies_) loop->uses_loop = true;
  }
  for (Signature* signature : signatures_) {
    if (name == "caller") signature->uses_caller = true;
    if (name == "varargs") signature->uses_varargs = true;
    if (name == "kwargs") signature->uses_kwargs = true;
  }
}

}  // namespace ration::jinja
