// The for statement and its `loop`.
#include <fmt/core.h>

#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

LoopObject* Renderer::make_loop(const Statement& statement, Frame* scope, const Value& iterable,
                                int64_t depth0) {
  auto* loop = machine_.make<LoopObject>();
  loop->statement = &statement;
  loop->scope = scope;
  loop->cursor = Cursor(machine_, iterable);
  // A loop with a condition does not know its length before it has run.
  if (!statement.condition) loop->length = length_of(iterable);
  loop->depth0 = depth0;
  return loop;
}

Renderer::Flow Renderer::execute_for(const Statement& statement) {
  const Value iterable = evaluate(*statement.expression);
  if (machine_.failed()) return Flow::kNext;
  return walk(*make_loop(statement, frame_, iterable, 0));
}

Renderer::Flow Renderer::walk(LoopObject& loop) {
  const Statement& statement = *loop.statement;
  bool completed = false;  // one round, to its end: Jinja runs the else part unless that happened
  {
    Scope scope(*this, loop.scope);
    const auto loop_name = program_.name_ids.find("loop");
    Value item;
    for (bool first = true; loop_next(loop, item); first = false) {
      if (!first) scope.renew();
      if (statement.uses_loop || (statement.recursive && loop_name != program_.name_ids.end())) {
        set(loop_name->second, Value::of(&loop));
      }
      assign(statement.target, item);
      if (machine_.failed()) return Flow::kNext;
      const Flow flow = execute(statement.body);
      if (machine_.failed()) return Flow::kNext;
      if (flow == Flow::kBreak) break;
      completed = completed || flow == Flow::kNext;
    }
  }
  if (completed || machine_.failed() || statement.otherwise.empty()) return Flow::kNext;
  const Scope scope(*this, loop.scope);
  return execute(statement.otherwise);
}

bool Renderer::pull(LoopObject& loop, Value& item) {
  if (loop.drained) {
    IteratorObject& rest = loop.drained->iterator();
    if (!machine_.step() || rest.next >= rest.items.size()) return false;
    item = rest.items[rest.next++];
    return true;
  }
  const Expression* condition = loop.statement->condition.get();
  while (loop.cursor.next(machine_, item)) {
    if (!condition) return true;
    const Scope scope(*this, loop.scope);
    assign(loop.statement->target, item);
    const bool wanted = truthy(evaluate(*condition));
    if (machine_.failed()) return false;
    if (wanted) return true;
  }
  return false;
}

// The item after this one, without going there.
bool Renderer::peek(LoopObject& loop, Value& item) {
  if (!loop.has_after && !loop.ended) {
    loop.has_after = pull(loop, loop.after);
    loop.ended = !loop.has_after;
  }
  item = loop.after;
  return loop.has_after;
}

bool Renderer::loop_next(LoopObject& loop, Value& item) {
  if (loop.has_after) {
    item = loop.after;
    loop.has_after = false;
  } else if (loop.ended || !pull(loop, item)) {
    return false;
  }
  ++loop.index0;
  loop.before = loop.current;
  loop.current = item;
  return true;
}

int64_t Renderer::loop_length(LoopObject& loop) {
  if (loop.length) return *loop.length;
  std::vector<Value> rest;
  for (Value item; pull(loop, item);) {
    if (!machine_.hold(sizeof(Value))) break;
    rest.push_back(item);
  }
  loop.length = static_cast<int64_t>(rest.size()) + loop.index0 + 1 + (loop.has_after ? 1 : 0);
  // What was drained has passed the condition already.
  loop.drained = make_iterator(machine_, std::move(rest));
  return *loop.length;
}

Value Renderer::loop_attribute(LoopObject& loop, std::string_view name) {
  if (name == "index") return Value::of(loop.index0 + 1);
  if (name == "index0") return Value::of(loop.index0);
  if (name == "first") return Value::of(loop.index0 == 0);
  if (name == "depth") return Value::of(loop.depth0 + 1);
  if (name == "depth0") return Value::of(loop.depth0);
  if (name == "length") return Value::of(loop_length(loop));
  if (name == "revindex") return Value::of(loop_length(loop) - loop.index0);
  if (name == "revindex0") return Value::of(loop_length(loop) - loop.index0 - 1);
  Value item;
  if (name == "last") return Value::of(!peek(loop, item));
  if (name == "nextitem") {
    return peek(loop, item) ? item : undefined_hint(machine_, "there is no next item");
  }
  if (name == "previtem") {
    return loop.index0 > 0 ? loop.before : undefined_hint(machine_, "there is no previous item");
  }
  return {};
}

// loop(children) of a recursive loop: its body once more, as text.
Value Renderer::call_loop(LoopObject& loop, CallArguments& arguments) {
  const Bound bound(machine_, "loop", arguments, {"iterable"}, 1);
  if (machine_.failed()) return {};
  if (!loop.statement->recursive) {
    machine_.fail("a loop must be marked recursive to be called");
    return {};
  }
  Capture capture(*this);
  LoopObject* inner = make_loop(*loop.statement, loop.scope, bound[0], loop.depth0 + 1);
  walk(*inner);
  return capture.take();
}

}  // namespace ration::jinja
