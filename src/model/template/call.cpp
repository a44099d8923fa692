// Calls: of macros, methods, functions, loops and joiners; and how arguments meet parameters.
#include <fmt/core.h>

#include <algorithm>

#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using Kind = Value::Kind;

bool CallArguments::take_keyword(std::string_view name, Value& value) {
  const auto found = std::ranges::find(keywords, name, &Keyword::text);
  if (found == keywords.end()) return false;
  value = found->value;
  keywords.erase(found);
  return true;
}

Bound::Bound(Machine& machine, std::string_view callee, const CallArguments& arguments,
             std::initializer_list<std::string_view> names, size_t required)
    : machine_(machine), callee_(callee) {
  DCHECK(names.size() <= kMax);
  if (arguments.positional.size() > names.size()) {
    machine.fail(fmt::format("{} takes at most {} arguments, found {}", callee, names.size(),
                             arguments.positional.size()));
    return;
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    values_[i] = arguments.positional[i];
    given_[i] = true;
  }
  for (const auto& [key, value] : arguments.keywords) {
    const std::string_view name = key->text.view();
    const auto found = std::ranges::find(names, name);
    const auto index = static_cast<size_t>(found - names.begin());
    if (found == names.end() || given_[index]) {
      machine.fail(fmt::format("{}: unexpected argument '{}'", callee, name));
      return;
    }
    values_[index] = value;
    given_[index] = true;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!given_[i]) machine.fail(fmt::format("{}: missing '{}'", callee, names.begin()[i]));
  }
}

int64_t Bound::integer(size_t index, int64_t otherwise) const {
  if (!has(index)) return otherwise;
  const Value& value = values_[index];
  constexpr int64_t kMost = int64_t{1} << 62;
  if (fail_if_undefined(machine_, value)) return otherwise;
  if (!value.is_integer() || value.wide() > kMost || value.wide() < -kMost) {
    machine_.fail(fmt::format("{}: found {}, wanted a small integer", callee_, type_name(value)));
    return otherwise;
  }
  return static_cast<int64_t>(value.wide());
}

const StringObject* Bound::string(size_t index) const {
  if (!has(index) || values_[index].is_none()) return nullptr;
  const Value& value = values_[index];
  if (value.is_string()) return &value.string();
  machine_.fail(fmt::format("{}: found {}, wanted a string", callee_, type_name(value)));
  return nullptr;
}

Value Renderer::call(const Value& callee, CallArguments& arguments) {
  const Machine::Nested nested(machine_);
  if (!machine_.step() || fail_if_undefined(machine_, callee)) return {};
  switch (callee.kind()) {
    case Kind::kMacro:
      return call_macro(callee.macro(), arguments);
    case Kind::kMethod:
      return call_method(*this, callee.method(), arguments);
    case Kind::kFunction:
      return call_function(*this, static_cast<int>(callee.index()), arguments);
    case Kind::kLoop:
      return call_loop(callee.loop(), arguments);
    case Kind::kJoiner: {
      const Bound bound(machine_, "joiner", arguments, {});
      JoinerObject& joiner = callee.joiner();
      return std::exchange(joiner.used, true) ? joiner.separator : make_string(machine_, "");
    }
    default:
      break;
  }
  machine_.fail(fmt::format("'{}' object is not callable", type_name(callee)));
  return {};
}

Value Renderer::make_macro(const Statement& statement) {
  auto* macro = machine_.make<MacroObject>();
  macro->statement = &statement;
  macro->scope = frame_;
  for (Frame* frame = frame_; frame && !frame->captured; frame = frame->parent) {
    frame->captured = true;
  }
  return Value::of(macro);
}

Value Renderer::call_macro(const MacroObject& macro, CallArguments& arguments) {
  const Scope scope(*this, macro.scope);
  bind_macro(macro, arguments);
  if (machine_.failed()) return {};
  Capture capture(*this);
  execute(macro.statement->body);
  return capture.take();
}

namespace {

std::string macro_name(const Program& program, const Statement& statement) {
  if (statement.kind == Statement::Kind::kCall) return "the caller";
  return fmt::format("macro '{}'", program.names[statement.name]->text.view());
}

}  // namespace

// Sets the parameters in the current frame, as jinja2.runtime.Macro does.
void Renderer::bind_macro(const MacroObject& macro, CallArguments& arguments) {
  const Signature& signature = *macro.statement->signature;
  const size_t count = signature.parameters.size();
  bool takes_caller = signature.uses_caller;
  bool own_kwargs = signature.uses_kwargs, own_varargs = signature.uses_varargs;
  std::vector<size_t> missing;
  for (size_t i = 0; i < count; ++i) {
    const StringObject* name = program_.names[signature.parameters[i]];
    Value value = Value::undefined(Missing::kVariable, name);
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (!arguments.take_keyword(name->text.view(), value)) {
      missing.push_back(i);
    }
    set(signature.parameters[i], value);
    if (name->text.view() == "caller") takes_caller = false;
    if (name->text.view() == "kwargs") own_kwargs = false;
    if (name->text.view() == "varargs") own_varargs = false;
  }
  if (takes_caller) {
    Value caller;
    const bool given = arguments.take_keyword("caller", caller) && !caller.is_none();
    define("caller", given ? caller : undefined_hint(machine_, "no caller defined"));
  }
  if (own_kwargs) {
    DictMaker rest(machine_);
    for (const auto& [name, value] : arguments.keywords) rest.put(Value::of(name), value);
    define("kwargs", rest.take());
  } else if (!arguments.keywords.empty()) {
    machine_.fail(fmt::format("{} takes no argument '{}'", macro_name(program_, *macro.statement),
                              arguments.keywords[0].text()));
  }
  const size_t used = std::min(count, arguments.positional.size());
  if (own_varargs) {
    const auto rest = arguments.positional.begin() + static_cast<ptrdiff_t>(used);
    define("varargs", make_tuple(machine_, std::vector<Value>(rest, arguments.positional.end())));
  } else if (arguments.positional.size() > count) {
    machine_.fail(fmt::format("{} takes at most {} arguments, found {}",
                              macro_name(program_, *macro.statement), count,
                              arguments.positional.size()));
  }
  const size_t first_default = count - signature.defaults.size();
  for (const size_t i : missing) {
    if (machine_.failed()) return;
    if (i >= first_default) {
      set(signature.parameters[i], evaluate(*signature.defaults[i - first_default]));
    }
  }
}

Value Renderer::macro_attribute(const MacroObject& macro, std::string_view name) {
  const Signature& signature = *macro.statement->signature;
  if (name == "name") {
    if (macro.statement->kind == Statement::Kind::kCall) return Value::none();
    return Value::of(program_.names[macro.statement->name]);
  }
  if (name == "arguments") {
    std::vector<Value> names;
    for (const NameId id : signature.parameters) names.push_back(Value::of(program_.names[id]));
    return make_tuple(machine_, std::move(names));
  }
  if (name == "catch_kwargs") return Value::of(signature.uses_kwargs);
  if (name == "catch_varargs") return Value::of(signature.uses_varargs);
  if (name == "caller") return Value::of(signature.uses_caller);
  return {};
}

}  // namespace ration::jinja
