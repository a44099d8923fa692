// Expressions.
#include <fmt/core.h>

#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using ExpressionKind = Expression::Kind;

Value Renderer::evaluate(const Expression& expression) {
  const Machine::Nested nested(machine_);
  if (!machine_.step()) return {};
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.constant;
    case ExpressionKind::kName:
      return look_up(expression.name);
    case ExpressionKind::kTuple:
      return make_tuple(machine_, evaluate_all(expression.children));
    case ExpressionKind::kList:
      return make_list(machine_, evaluate_all(expression.children));
    case ExpressionKind::kDict:
      return evaluate_dict(expression);
    case ExpressionKind::kNot:
      return Value::of(!truthy(evaluate(*expression.children[0])));
    case ExpressionKind::kNegative:
    case ExpressionKind::kPositive:
      return evaluate_sign(expression);
    case ExpressionKind::kAnd:
    case ExpressionKind::kOr:
      return evaluate_logic(expression);
    case ExpressionKind::kCompare:
      return evaluate_compare(expression);
    case ExpressionKind::kArithmetic:
      return evaluate_arithmetic(expression);
    case ExpressionKind::kConcat:
      return evaluate_concat(expression);
    case ExpressionKind::kChoice:
      return evaluate_choice(expression);
    case ExpressionKind::kAttribute:
      return attribute(evaluate(*expression.children[0]), *program_.names[expression.name]);
    case ExpressionKind::kItem: {
      const Value of = evaluate(*expression.children[0]);
      return item(of, evaluate(*expression.children[1]));
    }
    case ExpressionKind::kSlice:
      return evaluate_slice(expression);
    case ExpressionKind::kCall:
      return evaluate_call(expression, nullptr);
    case ExpressionKind::kFilter:
      return evaluate_filter(expression, nullptr);
    case ExpressionKind::kTest:
      return evaluate_test(expression);
  }
  return {};
}

Value Renderer::look_up(NameId name) {
  for (const Frame* frame = frame_; frame; frame = frame->parent) {
    for (const auto& [known, value] : frame->variables) {
      if (known == name) return value;
    }
    machine_.step(static_cast<int64_t>(frame->variables.size() / 16));
  }
  if (program_.functions[name] >= 0) return Value::function(program_.functions[name]);
  return Value::undefined(Missing::kVariable, program_.names[name]);
}

std::vector<Value> Renderer::evaluate_all(const std::vector<ExpressionPtr>& expressions) {
  std::vector<Value> values;
  values.reserve(expressions.size());
  for (const ExpressionPtr& expression : expressions) values.push_back(evaluate(*expression));
  return values;
}

Value Renderer::evaluate_dict(const Expression& expression) {
  DictMaker dict(machine_);
  for (size_t i = 0; i + 1 < expression.children.size() && !machine_.failed(); i += 2) {
    const Value key = evaluate(*expression.children[i]);
    dict.put(key, evaluate(*expression.children[i + 1]));
  }
  return dict.take();
}

// Python's `and` and `or` give one of their operands.
Value Renderer::evaluate_logic(const Expression& expression) {
  Value value;
  for (const ExpressionPtr& operand : expression.children) {
    value = evaluate(*operand);
    if (truthy(value) == (expression.kind == ExpressionKind::kOr)) break;
  }
  return value;
}

Value Renderer::evaluate_sign(const Expression& expression) {
  const Value value = evaluate(*expression.children[0]);
  return expression.kind == ExpressionKind::kNegative ? negated(machine_, value)
                                                      : positive(machine_, value);
}

namespace {

bool compare(Machine& machine, Operator operation, const Value& a, const Value& b) {
  switch (operation) {
    case Operator::kEqual:
      return equal(machine, a, b);
    case Operator::kNotEqual:
      return !equal(machine, a, b);
    case Operator::kLess:
      return less(machine, a, b);
    case Operator::kLessEqual:
      return less(machine, a, b) || equal(machine, a, b);
    case Operator::kGreater:
      return less(machine, b, a);
    case Operator::kGreaterEqual:
      return less(machine, b, a) || equal(machine, a, b);
    case Operator::kIn:
      return contains(machine, b, a);
    case Operator::kNotIn:
      return !contains(machine, b, a);
    default:
      return false;
  }
}

bool is_plain_string(const Value& value) { return value.is_string() && !value.string().markup; }

}  // namespace

Value Renderer::evaluate_compare(const Expression& expression) {
  Value left = evaluate(*expression.children[0]);
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    const Value right = evaluate(*expression.children[i + 1]);
    if (!compare(machine_, expression.operators[i], left, right)) return Value::of(false);
    left = right;
  }
  return Value::of(true);
}

Value Renderer::evaluate_arithmetic(const Expression& expression) {
  Value left = evaluate(*expression.children[0]);
  std::optional<Builder> joined;  // the left side while strings are added to it
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    const Value right = evaluate(*expression.children[i + 1]);
    if (machine_.failed()) return {};
    if (expression.operators[i] == Operator::kAdd && is_plain_string(right) &&
        (joined || is_plain_string(left))) {
      if (!joined) joined.emplace(machine_).add(left.string().text);
      joined->add(right.string().text);
      continue;
    }
    if (joined) {
      left = make_string(machine_, joined->take());
      joined.reset();
    }
    left = arithmetic(*this, expression.operators[i], left, right);
  }
  return joined ? make_string(machine_, joined->take()) : left;
}

Value Renderer::evaluate_concat(const Expression& expression) {
  Builder text(machine_);
  for (const ExpressionPtr& operand : expression.children) {
    add_str(text, machine_, evaluate(*operand));
  }
  return make_string(machine_, text.take());
}

Value Renderer::evaluate_choice(const Expression& expression) {
  if (truthy(evaluate(*expression.children[1]))) return evaluate(*expression.children[0]);
  if (expression.children.size() > 2) return evaluate(*expression.children[2]);
  return undefined_hint(machine_, "the condition is false and there is no else");
}

Value Renderer::evaluate_slice(const Expression& expression) {
  const Value of = evaluate(*expression.children[0]);
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    const ExpressionPtr& bound = expression.children[i + 1];
    bounds[i] = bound ? evaluate(*bound) : Value::none();
  }
  return slice(machine_, of, bounds[0], bounds[1], bounds[2]);
}

void Renderer::evaluate_arguments(const Arguments& arguments, CallArguments& evaluated) {
  evaluated.positional = evaluate_all(arguments.positional);
  for (const auto& [name, value] : arguments.keywords) {
    evaluated.keywords.push_back({program_.names[name], evaluate(*value)});
  }
  if (arguments.more_positional) {
    const std::vector<Value> more = elements_of(machine_, evaluate(*arguments.more_positional));
    evaluated.positional.insert(evaluated.positional.end(), more.begin(), more.end());
  }
  if (!arguments.more_keywords) return;
  const Value more = evaluate(*arguments.more_keywords);
  if (!more.is(Value::Kind::kDict)) {
    machine_.fail(fmt::format("found {} after **, wanted a mapping", type_name(more)));
    return;
  }
  for (const DictObject::Entry& entry : more.dict().entries) {
    if (!entry.key.is_string()) return machine_.fail("keywords must be strings");
    for (const CallArguments::Keyword& keyword : evaluated.keywords) {
      if (!machine_.step()) return;
      if (keyword.text() == entry.key.text()) {
        machine_.fail(fmt::format("argument '{}' given twice", keyword.text()));
      }
    }
    evaluated.keywords.push_back({&entry.key.string(), entry.value});
  }
}

Value Renderer::evaluate_call(const Expression& expression, const Value* caller) {
  const Value callee = evaluate(*expression.children[0]);
  CallArguments arguments;
  evaluate_arguments(*expression.arguments, arguments);
  if (caller) {
    arguments.keywords.push_back({&make_string(machine_, "caller").string(), *caller});
  }
  return machine_.failed() ? Value() : call(callee, arguments);
}

// `block`: what the innermost filter works on when the chain has no expression.
Value Renderer::evaluate_filter(const Expression& expression, const Value* block) {
  const Expression* operand = expression.children[0].get();
  Value input;
  if (!operand) {
    input = *block;
  } else {
    input = block ? evaluate_filter(*operand, block) : evaluate(*operand);
  }
  CallArguments arguments;
  evaluate_arguments(*expression.arguments, arguments);
  if (machine_.failed()) return {};
  if (expression.row < 0) {
    machine_.fail(fmt::format("no filter '{}'", program_.names[expression.name]->text.view()));
    return {};
  }
  return apply_filter(*this, expression.row, input, arguments);
}

Value Renderer::evaluate_test(const Expression& expression) {
  const Value input = evaluate(*expression.children[0]);
  CallArguments arguments;
  evaluate_arguments(*expression.arguments, arguments);
  if (machine_.failed()) return {};
  if (expression.row < 0) {
    machine_.fail(fmt::format("no test '{}'", program_.names[expression.name]->text.view()));
    return {};
  }
  return Value::of(apply_test(*this, expression.row, input, arguments));
}

}  // namespace ration::jinja
