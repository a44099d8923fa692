// str() and repr() as Python writes them. Brackets and commas belong to whoever made the container,
// strings to their authors, numbers and names to the template: they cannot spell a special token.
#include <fmt/core.h>

#include "model/template/escape.h"
#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

std::string integer_text(const Value& value) {
  if (value.wide() > INT64_MAX) return fmt::format("{}", static_cast<uint64_t>(value.wide()));
  return fmt::format("{}", static_cast<int64_t>(value.wide()));
}

void add_items(Builder& out, Machine& machine, const ListObject& list, std::string_view open,
               std::string_view close) {
  out.add(open, list.made_by);
  for (size_t i = 0; i < list.items.size() && !machine.failed(); ++i) {
    if (i > 0) out.add(", ", list.made_by);
    add_repr(out, machine, list.items[i]);
  }
  out.add(close, list.made_by);
}

void add_dict(Builder& out, Machine& machine, const DictObject& dict) {
  out.add("{", dict.made_by);
  for (size_t i = 0; i < dict.entries.size() && !machine.failed(); ++i) {
    if (i > 0) out.add(", ", dict.made_by);
    add_repr(out, machine, dict.entries[i].key);
    out.add(": ", dict.made_by);
    add_repr(out, machine, dict.entries[i].value);
  }
  out.add("}", dict.made_by);
}

void add_namespace(Builder& out, Machine& machine, const NamespaceObject& space) {
  out.add("<Namespace {", Origin::kTemplate);
  bool first = true;
  for (const auto& [name, value] : space.attributes) {
    if (machine.failed()) return;
    if (!std::exchange(first, false)) out.add(", ", Origin::kTemplate);
    add_repr(out, name->text, Origin::kTemplate);
    out.add(": ", Origin::kTemplate);
    add_repr(out, machine, value);
  }
  out.add("}>", Origin::kTemplate);
}

std::string range_text(const RangeObject& range) {
  return range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                         : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

// Python would print an address, which nobody can want in a prompt.
void refuse_address(Machine& machine, const Value& value) {
  machine.fail(Code::kUnsupported, fmt::format("printing a {} is not supported", type_name(value)));
}

}  // namespace

void add_repr(Builder& out, Machine& machine, const Value& value) {
  const Machine::Nested nested(machine);
  if (!machine.step()) return;
  const auto add = [&out](std::string_view text) { out.add(text, Origin::kTemplate); };
  switch (value.kind()) {
    case Kind::kUndefined:
      return add("Undefined");
    case Kind::kNone:
      return add("None");
    case Kind::kBool:
      return add(value.boolean() ? "True" : "False");
    case Kind::kInt:
      return add(integer_text(value));
    case Kind::kFloat:
      return add(repr_float(value.real()));
    case Kind::kString:
      if (value.string().markup) add("Markup(");
      add_repr(out, value.string().text, Origin::kTemplate);
      if (value.string().markup) add(")");
      return;
    case Kind::kList:
      return add_items(out, machine, value.list(), "[", "]");
    case Kind::kTuple:
      return add_items(out, machine, value.list(), "(",
                       value.list().items.size() == 1 ? ",)" : ")");
    case Kind::kKeys:
      return add_items(out, machine, value.list(), "dict_keys([", "])");
    case Kind::kValues:
      return add_items(out, machine, value.list(), "dict_values([", "])");
    case Kind::kItems:
      return add_items(out, machine, value.list(), "dict_items([", "])");
    case Kind::kDict:
      return add_dict(out, machine, value.dict());
    case Kind::kRange:
      return add(range_text(value.range()));
    case Kind::kNamespace:
      return add_namespace(out, machine, value.space());
    default:
      return refuse_address(machine, value);
  }
}

void add_str(Builder& out, Machine& machine, const Value& value) {
  if (value.is_undefined()) return;
  if (value.is_string()) return out.add(value.string().text);
  add_repr(out, machine, value);
}

Value to_str(Machine& machine, const Value& value) {
  if (value.is_string()) return value;
  Builder out(machine);
  add_str(out, machine, value);
  return make_string(machine, out.take());
}

Value to_plain_str(Machine& machine, const Value& value) {
  if (!value.is_string() || !value.string().markup) return to_str(machine, value);
  Builder out(machine);
  out.add(value.string().text);
  return make_string(machine, out.take());
}

Value escaped(Machine& machine, const Value& value) {
  if (value.is_string() && value.string().markup) return value;
  const Value text = to_str(machine, value);
  if (machine.failed()) return {};
  Builder out(machine);
  add_html(out, text.string().text);
  return make_string(machine, out.take(), /*markup=*/true);
}

}  // namespace ration::jinja
