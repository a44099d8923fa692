// model/template/parser.h - tokens into the tree, by Jinja's grammar. Recursive descent; nesting
// and chain length are bounded, so neither parsing nor freeing the tree can exhaust the stack.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/template/lexer.h"
#include "model/template/syntax.h"
#include "model/template/template.h"

namespace ration::jinja {

// An operator of one precedence and its token.
struct OperatorToken {
  TokenKind token;
  Operator operation;
};

// single-thread: one parse. The first error sticks and ends the token stream.
class Parser {
 public:
  Parser(std::string source, const TemplateLimits& limits, Program& program)
      : lexer_(std::move(source)), limits_(limits), program_(program) {}

  // kInvalid: a syntax error with its line. kUnsupported: Jinja we do not do, by name.
  Status parse();

 private:
  class Nested;
  struct TupleOptions {
    bool choices = true;             // a if b else c
    bool targets = false;            // only names and literals
    bool namespaces = false;         // a.b as a target
    bool parentheses = false;        // an empty tuple is one
    std::string_view end_word = {};  // a name that ends it
  };

  // parse_statements.cpp
  Body parse_body(std::initializer_list<std::string_view> end_words);
  Body parse_block_body(std::initializer_list<std::string_view> end_words);
  std::unique_ptr<Statement> parse_statement();
  std::unique_ptr<Statement> parse_if();
  std::unique_ptr<Statement> parse_for();
  std::unique_ptr<Statement> parse_set();
  std::unique_ptr<Statement> parse_with();
  std::unique_ptr<Statement> parse_macro();
  std::unique_ptr<Statement> parse_call_block();
  std::unique_ptr<Statement> parse_filter_block();
  std::unique_ptr<Statement> parse_generation();
  std::unique_ptr<Statement> parse_loop_control(Statement::Kind kind);
  std::unique_ptr<Statement> parse_print();
  void parse_signature(Signature& signature);
  void parse_macro_body(Statement& macro, std::string_view end_word);
  Target parse_target(TupleOptions options);
  Target to_target(const Expression& expression);

  // parse_expressions.cpp
  ExpressionPtr parse_expression(bool choices = true);
  ExpressionPtr parse_choice();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_compare();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concat();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_signed();
  ExpressionPtr parse_chain(ExpressionPtr (Parser::*operand)(),
                            std::span<const OperatorToken> tokens);
  ExpressionPtr parse_unary(bool filters = true);
  ExpressionPtr parse_primary(bool namespaces = false);
  ExpressionPtr parse_name(bool namespaces);
  ExpressionPtr parse_string();
  ExpressionPtr parse_number();
  ExpressionPtr parse_tuple(const TupleOptions& options);
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();

  // parse_postfix.cpp
  ExpressionPtr parse_postfix(ExpressionPtr expression);
  ExpressionPtr parse_filters_and_tests(ExpressionPtr expression);
  ExpressionPtr parse_subscript(ExpressionPtr expression);
  ExpressionPtr parse_dot(ExpressionPtr expression);
  ExpressionPtr parse_call(ExpressionPtr expression);
  ExpressionPtr parse_filter(ExpressionPtr expression, bool without_pipe = false);
  ExpressionPtr parse_test(ExpressionPtr expression);
  std::unique_ptr<Arguments> parse_arguments();
  void parse_argument(Arguments& arguments);
  std::string parse_dotted_name();
  void note_unknown(std::string_view what, const std::string& name, int row, bool unsupported);

  // parser.cpp
  void advance();
  const Token& peek();
  bool is(TokenKind kind) const { return current_.kind == kind; }
  bool is_word(std::string_view word) const {
    return is(TokenKind::kName) && current_.text == word;
  }
  bool is_any_word(std::initializer_list<std::string_view> words) const;
  bool skip(TokenKind kind);
  bool skip_word(std::string_view word);
  Token expect(TokenKind kind, std::string_view what);
  void expect_word(std::string_view word);
  void fail(std::string_view message) { fail(Code::kInvalid, message); }
  void fail(Code code, std::string_view message);
  void refuse(std::string_view what, int64_t wanted, int64_t available);
  bool failed() const { return error_.has_value(); }
  // A chain grew by one link; fails when it is too long to walk by recursion.
  bool link(int& links);

  NameId name_id(std::string_view name);
  Value constant(std::string text);
  ExpressionPtr make(Expression::Kind kind) const;
  ExpressionPtr make(Expression::Kind kind, ExpressionPtr child) const;
  std::unique_ptr<Statement> make(Statement::Kind kind) const;
  void note_load(std::string_view name);

  Lexer lexer_;
  const TemplateLimits& limits_;
  Program& program_;
  std::optional<Error> error_;
  Token current_;
  std::optional<Token> next_;
  int depth_ = 0;

  bool soft_ = false;  // inside a condition: an unknown filter fails only when it is reached
  struct Unknown {
    uint32_t line;
    std::string what;
  };
  std::vector<Unknown> unknown_;        // filters and tests that fail the template
  int loops_ = 0;                       // enclosing loops that `break` can leave
  int loops_any_ = 0;                   // enclosing loops at all: nobody may set `loop` there
  std::vector<Signature*> signatures_;  // enclosing macros
  std::vector<Statement*> for_bodies_;  // enclosing for bodies
};

// One more level of source, for as long as it lives.
class Parser::Nested {
 public:
  explicit Nested(Parser& parser) : parser_(parser) {
    const int depth_max = parser_.limits_.depth_max;
    if (++parser_.depth_ > depth_max) parser_.refuse("nested levels", parser_.depth_, depth_max);
  }
  ~Nested() { --parser_.depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Parser& parser_;
};

}  // namespace ration::jinja
