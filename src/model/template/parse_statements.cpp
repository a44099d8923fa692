// The statements of the grammar: everything between {% and %}.
#include <fmt/core.h>

#include <array>

#include "model/template/parser.h"

namespace ration::jinja {
namespace {

// Statements of Jinja that no chat template needs; refused by name.
constexpr std::array<std::string_view, 8> kUnsupported = {
    "block", "extends", "include", "import", "from", "autoescape", "trans", "debug"};

// Sets a flag for as long as it lives.
class Holding {
 public:
  Holding(bool& flag, bool value) : flag_(flag), before_(flag) { flag_ = value; }
  ~Holding() { flag_ = before_; }
  Holding(const Holding&) = delete;
  Holding& operator=(const Holding&) = delete;

 private:
  bool& flag_;
  bool before_;
};

}  // namespace

// Until a block that starts with one of `end_words`, whose word is then the current token; without
// end words, until the template ends.
Body Parser::parse_body(std::initializer_list<std::string_view> end_words) {
  Body body;
  while (!failed()) {
    if (is(TokenKind::kEnd)) {
      if (end_words.size() > 0) {
        fail(fmt::format("found the end of the template, wanted '{}'", *end_words.begin()));
      }
      break;
    }
    if (is(TokenKind::kData)) {
      auto text = make(Statement::Kind::kText);
      text->text = current_.text;
      body.push_back(std::move(text));
      advance();
    } else if (skip(TokenKind::kOutputBegin)) {
      auto output = make(Statement::Kind::kOutput);
      output->expression = parse_tuple({});
      expect(TokenKind::kOutputEnd, "'}}'");
      body.push_back(std::move(output));
    } else {
      expect(TokenKind::kBlockBegin, "a tag");
      if (is_any_word(end_words)) break;
      auto statement = parse_statement();
      if (failed()) break;
      body.push_back(std::move(statement));
      expect(TokenKind::kBlockEnd, "'%}'");
    }
  }
  return body;
}

// The body of a statement: its tag ends here (a colon before that is allowed).
Body Parser::parse_block_body(std::initializer_list<std::string_view> end_words) {
  skip(TokenKind::kColon);
  expect(TokenKind::kBlockEnd, "'%}'");
  return parse_body(end_words);
}

std::unique_ptr<Statement> Parser::parse_statement() {
  const Nested nested(*this);
  if (!is(TokenKind::kName)) {
    fail(fmt::format("found {}, wanted a tag's name", describe(current_)));
    return nullptr;
  }
  const std::string& word = current_.text;
  if (word == "for") return parse_for();
  if (word == "if") return parse_if();
  if (word == "set") return parse_set();
  if (word == "macro") return parse_macro();
  if (word == "call") return parse_call_block();
  if (word == "filter") return parse_filter_block();
  if (word == "with") return parse_with();
  if (word == "print") return parse_print();
  if (word == "generation") return parse_generation();
  if (word == "break") return parse_loop_control(Statement::Kind::kBreak);
  if (word == "continue") return parse_loop_control(Statement::Kind::kContinue);
  for (const std::string_view name : kUnsupported) {
    if (word == name) {
      fail(Code::kUnsupported, fmt::format("the tag '{}' is not supported", name));
      return nullptr;
    }
  }
  fail(fmt::format("unknown tag '{}'", word));
  return nullptr;
}

std::unique_ptr<Statement> Parser::parse_if() {
  auto statement = make(Statement::Kind::kIf);
  const Holding soft(soft_, true);
  do {
    advance();  // if, elif
    ExpressionPtr condition = parse_tuple({.choices = false});
    Body body = parse_block_body({"elif", "else", "endif"});
    statement->branches.emplace_back(std::move(condition), std::move(body));
  } while (is_word("elif"));
  if (skip_word("else")) statement->otherwise = parse_block_body({"endif"});
  advance();
  return statement;
}

std::unique_ptr<Statement> Parser::parse_for() {
  auto statement = make(Statement::Kind::kFor);
  advance();
  ++loops_any_;
  statement->target = parse_target({.targets = true, .end_word = "in"});
  expect_word("in");
  --loops_any_;
  statement->expression = parse_tuple({.choices = false, .end_word = "recursive"});
  const Holding soft(soft_, false);
  if (skip_word("if")) statement->condition = parse_expression();
  statement->recursive = skip_word("recursive");
  ++loops_;
  ++loops_any_;
  for_bodies_.push_back(statement.get());
  statement->body = parse_block_body({"endfor", "else"});
  for_bodies_.pop_back();
  --loops_;
  if (skip_word("else")) statement->otherwise = parse_block_body({"endfor"});
  --loops_any_;
  advance();
  return statement;
}

std::unique_ptr<Statement> Parser::parse_set() {
  auto statement = make(Statement::Kind::kSet);
  advance();
  statement->target = parse_target({.targets = true, .namespaces = true});
  if (skip(TokenKind::kAssign)) {
    statement->expression = parse_tuple({});
    return statement;
  }
  statement->kind = Statement::Kind::kSetBlock;
  const Holding soft(soft_, false);
  if (is(TokenKind::kPipe)) statement->expression = parse_filter(nullptr);
  statement->body = parse_block_body({"endset"});
  advance();
  return statement;
}

std::unique_ptr<Statement> Parser::parse_with() {
  auto statement = make(Statement::Kind::kWith);
  advance();
  while (!is(TokenKind::kBlockEnd) && !failed()) {
    if (!statement->assignments.empty()) expect(TokenKind::kComma, "','");
    Target target = parse_target({.targets = true});
    expect(TokenKind::kAssign, "'='");
    statement->assignments.emplace_back(std::move(target), parse_expression());
  }
  const Holding soft(soft_, false);
  statement->body = parse_block_body({"endwith"});
  advance();
  return statement;
}

void Parser::parse_signature(Signature& signature) {
  expect(TokenKind::kLeftParen, "'('");
  while (!is(TokenKind::kRightParen) && !failed()) {
    if (!signature.parameters.empty()) expect(TokenKind::kComma, "','");
    const Token name = expect(TokenKind::kName, "a parameter's name");
    const NameId id = name_id(name.text);
    for (const NameId other : signature.parameters) {
      if (other == id) fail(fmt::format("parameter '{}' appears twice", name.text));
    }
    if (skip(TokenKind::kAssign)) {
      signature.defaults.push_back(parse_expression());
    } else if (!signature.defaults.empty()) {
      fail("parameter without a default after one with a default");
    }
    signature.parameters.push_back(id);
  }
  expect(TokenKind::kRightParen, "')'");
}

// The body of a macro or a call block: a function of its own, which no `break` can leave.
void Parser::parse_macro_body(Statement& macro, std::string_view end_word) {
  Signature& signature = *macro.signature;
  const Holding soft(soft_, false);
  const int loops = std::exchange(loops_, 0);
  signatures_.push_back(&signature);
  macro.body = parse_block_body({end_word});
  signatures_.pop_back();
  loops_ = loops;
  advance();
  // A parameter named caller must have a default once the body asks for the caller.
  const size_t required = signature.parameters.size() - signature.defaults.size();
  for (size_t i = 0; i < required && signature.uses_caller; ++i) {
    if (program_.names[signature.parameters[i]]->text.view() == "caller") {
      fail("the parameter 'caller' must have a default");
    }
  }
}

std::unique_ptr<Statement> Parser::parse_macro() {
  auto statement = make(Statement::Kind::kMacro);
  advance();
  statement->name = name_id(expect(TokenKind::kName, "the macro's name").text);
  statement->signature = std::make_unique<Signature>();
  parse_signature(*statement->signature);
  parse_macro_body(*statement, "endmacro");
  return statement;
}

std::unique_ptr<Statement> Parser::parse_call_block() {
  auto statement = make(Statement::Kind::kCall);
  advance();
  statement->signature = std::make_unique<Signature>();
  if (is(TokenKind::kLeftParen)) parse_signature(*statement->signature);
  statement->expression = parse_expression();
  if (!failed() && statement->expression->kind != Expression::Kind::kCall) {
    fail("found no call, wanted one in a call block");
  }
  parse_macro_body(*statement, "endcall");
  return statement;
}

std::unique_ptr<Statement> Parser::parse_filter_block() {
  auto statement = make(Statement::Kind::kFilterBlock);
  advance();
  const Holding soft(soft_, false);
  statement->expression = parse_filter(nullptr, /*without_pipe=*/true);
  statement->body = parse_block_body({"endfilter"});
  advance();
  return statement;
}

// Transformers marks what the assistant wrote with it: a call block around nothing.
std::unique_ptr<Statement> Parser::parse_generation() {
  auto statement = make(Statement::Kind::kScope);
  statement->signature = std::make_unique<Signature>();
  advance();
  parse_macro_body(*statement, "endgeneration");
  return statement;
}

std::unique_ptr<Statement> Parser::parse_loop_control(Statement::Kind kind) {
  auto statement = make(kind);
  if (loops_ == 0) fail(fmt::format("'{}' outside a loop", current_.text));
  advance();
  return statement;
}

std::unique_ptr<Statement> Parser::parse_print() {
  auto statement = make(Statement::Kind::kScope);
  advance();
  while (!is(TokenKind::kBlockEnd) && !failed()) {
    if (!statement->body.empty()) expect(TokenKind::kComma, "','");
    auto output = make(Statement::Kind::kOutput);
    output->expression = parse_expression();
    statement->body.push_back(std::move(output));
  }
  return statement;
}

Target Parser::parse_target(TupleOptions options) {
  const ExpressionPtr expression = parse_tuple(options);
  if (failed()) return {};
  return to_target(*expression);
}

Target Parser::to_target(const Expression& expression) {
  Target target;
  target.name = expression.name;
  switch (expression.kind) {
    case Expression::Kind::kName:
      if (loops_any_ > 0 && program_.names[expression.name]->text.view() == "loop") {
        fail("'loop' cannot be set inside a loop");
      }
      break;
    case Expression::Kind::kAttribute:
      // In a target only parse_name() makes these: a name and an attribute of it.
      target.kind = Target::Kind::kAttribute;
      target.name = expression.children[0]->name;
      target.attribute = expression.name;
      break;
    case Expression::Kind::kTuple: {
      const Nested nested(*this);
      target.kind = Target::Kind::kTuple;
      for (const ExpressionPtr& item : expression.children) {
        if (!failed()) target.items.push_back(to_target(*item));
      }
      break;
    }
    default:
      fail("found an expression, wanted a name to assign to");
      break;
  }
  return target;
}

}  // namespace ration::jinja
