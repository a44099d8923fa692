// Statements.
#include <fmt/core.h>

#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using StatementKind = Statement::Kind;

Renderer::Renderer(Machine& machine, const Program& program, int64_t now_unix_seconds)
    : machine_(machine),
      program_(program),
      now_unix_seconds_(now_unix_seconds),
      frame_(machine.make<Frame>()) {}

void Renderer::define(std::string_view name, const Value& value) {
  const auto known = program_.name_ids.find(name);
  if (known != program_.name_ids.end()) set(known->second, value);
}

Text Renderer::run() {
  Builder text(machine_);
  out_ = &text;
  const Scope scope(*this, frame_);
  execute(program_.body);
  out_ = nullptr;
  return text.take();
}

Frame* Renderer::new_frame(Frame* parent) {
  Frame* frame = nullptr;
  if (spare_frames_.empty()) {
    frame = machine_.make<Frame>();
  } else {
    frame = spare_frames_.back();
    spare_frames_.pop_back();
  }
  frame->parent = parent;
  return frame;
}

void Renderer::drop_frame(Frame* frame) {
  if (frame->captured) return;
  frame->variables.clear();
  spare_frames_.push_back(frame);
}

void Renderer::set(NameId name, const Value& value) {
  auto& variables = frame_->variables;
  for (auto& [known, old] : variables) {
    if (known == name) {
      old = value;
      return;
    }
  }
  machine_.step(static_cast<int64_t>(variables.size() / 16));
  if (variables.size() == variables.capacity()) {
    machine_.hold((variables.size() + 1) * sizeof(variables[0]));
  }
  variables.emplace_back(name, value);
}

Renderer::Flow Renderer::execute(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = execute(*statement);
    if (flow != Flow::kNext) return flow;
    if (machine_.failed()) break;
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::execute(const Statement& statement) {
  const Machine::Nested nested(machine_);
  machine_.at_line(statement.line);
  if (!machine_.step()) return Flow::kNext;
  switch (statement.kind) {
    case StatementKind::kText:
      out_->add(statement.text, Origin::kTemplate);
      break;
    case StatementKind::kOutput:
      emit(evaluate(*statement.expression));
      break;
    case StatementKind::kIf:
      return execute_if(statement);
    case StatementKind::kFor:
      return execute_for(statement);
    case StatementKind::kSet:
      assign(statement.target, evaluate(*statement.expression));
      break;
    case StatementKind::kSetBlock:
      return execute_set_block(statement);
    case StatementKind::kMacro:
      set(statement.name, make_macro(statement));
      break;
    case StatementKind::kCall:
      execute_call(statement);
      break;
    case StatementKind::kFilterBlock:
      return execute_filter_block(statement);
    case StatementKind::kWith:
      return execute_with(statement);
    case StatementKind::kScope:
      return execute_inner(statement.body);
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Renderer::Flow Renderer::execute_if(const Statement& statement) {
  for (const auto& [condition, body] : statement.branches) {
    if (truthy(evaluate(*condition))) return execute(body);
    if (machine_.failed()) return Flow::kNext;
  }
  return execute(statement.otherwise);
}

Renderer::Flow Renderer::execute_inner(const Body& body) {
  const Scope scope(*this, frame_);
  return execute(body);
}

Renderer::Flow Renderer::execute_set_block(const Statement& statement) {
  Value value;
  {
    const Scope scope(*this, frame_);
    {
      Capture capture(*this);
      const Flow flow = execute(statement.body);
      if (flow != Flow::kNext) return flow;
      value = capture.take();
    }
    if (statement.expression) value = evaluate_filter(*statement.expression, &value);
  }
  assign(statement.target, value);
  return Flow::kNext;
}

Renderer::Flow Renderer::execute_filter_block(const Statement& statement) {
  const Scope scope(*this, frame_);
  Value text;
  {
    Capture capture(*this);
    const Flow flow = execute(statement.body);
    if (flow != Flow::kNext) return flow;
    text = capture.take();
  }
  emit_string(evaluate_filter(*statement.expression, &text));
  return Flow::kNext;
}

Renderer::Flow Renderer::execute_with(const Statement& statement) {
  std::vector<Value> values;
  for (const auto& [target, expression] : statement.assignments) {
    values.push_back(evaluate(*expression));
  }
  const Scope scope(*this, frame_);
  for (size_t i = 0; i < values.size(); ++i) assign(statement.assignments[i].first, values[i]);
  return execute(statement.body);
}

void Renderer::execute_call(const Statement& statement) {
  const Value caller = make_macro(statement);
  emit_string(evaluate_call(*statement.expression, &caller));
}

void Renderer::emit(const Value& value) {
  if (!machine_.failed()) add_str(*out_, machine_, value);
}

// What a block makes must be text already: Jinja does not convert it.
void Renderer::emit_string(const Value& value) {
  if (!machine_.failed() && !value.is_string()) {
    machine_.fail(fmt::format("found {}, wanted a string from the block", type_name(value)));
  }
  emit(value);
}

void Renderer::assign(const Target& target, const Value& value) {
  if (machine_.failed()) return;
  if (target.kind == Target::Kind::kName) return set(target.name, value);
  if (target.kind == Target::Kind::kAttribute) {
    const Value space = look_up(target.name);
    if (!space.is(Value::Kind::kNamespace)) {
      return machine_.fail("cannot assign an attribute of anything but a namespace");
    }
    const StringObject* name = program_.names[target.attribute];
    if (Value* known = find(machine_, space.space(), name->text.view())) {
      *known = value;
    } else if (machine_.hold(sizeof(space.space().attributes[0]))) {
      space.space().attributes.emplace_back(name, value);
    }
    return;
  }
  const std::vector<Value> items = elements_of(machine_, value);
  if (machine_.failed()) return;
  if (items.size() != target.items.size()) {
    return machine_.fail(
        fmt::format("found {} values to unpack, wanted {}", items.size(), target.items.size()));
  }
  for (size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i]);
}

}  // namespace ration::jinja
