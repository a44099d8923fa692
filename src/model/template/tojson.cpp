// json.dumps as chat templates are given it.
#include <fmt/core.h>

#include <cmath>

#include "model/template/escape.h"
#include "model/template/merge_sort.h"
#include "model/template/operations.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

class Writer {
 public:
  Writer(Builder& out, Machine& machine, const JsonStyle& style)
      : out_(out), machine_(machine), style_(style) {}

  void write(const Value& value, int level, Origin around) {
    const Machine::Nested nested(machine_);
    if (!machine_.step()) return;
    switch (value.kind()) {
      case Kind::kNone:
        return out_.add("null", around);
      case Kind::kBool:
        return out_.add(value.boolean() ? "true" : "false", around);
      case Kind::kInt:
        return add_as_text(value, around);
      case Kind::kFloat:
        return out_.add(real(value.real()), around);
      case Kind::kString:
        return add_json(out_, value.string().text, around, style_.ascii_only);
      case Kind::kList:
      case Kind::kTuple:
        return write_list(value.list(), level);
      case Kind::kDict:
        return write_dict(value.dict(), level);
      default:
        machine_.fail(fmt::format("object of type {} is not JSON serializable", type_name(value)));
    }
  }

 private:
  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return repr_float(value);
  }

  void add_as_text(const Value& value, Origin origin) {
    const Value text = to_str(machine_, value);
    if (text.is_string()) out_.add(text.text(), origin);
  }

  void new_line(int level, Origin origin) {
    if (!style_.indent) return;
    out_.add("\n", origin);
    for (int i = 0; i < level && !machine_.failed(); ++i) out_.add(*style_.indent, origin);
  }

  // Who wrote the brackets and commas of a container.
  Origin author(Origin made_by) const {
    return style_.author == Origin::kUser ? Origin::kUser : made_by;
  }

  void write_list(const ListObject& list, int level) {
    const Origin by = author(list.made_by);
    if (list.items.empty()) return out_.add("[]", by);
    out_.add("[", by);
    for (size_t i = 0; i < list.items.size() && !machine_.failed(); ++i) {
      if (i > 0) out_.add(style_.between_items, by);
      new_line(level + 1, by);
      write(list.items[i], level + 1, by);
    }
    new_line(level, by);
    out_.add("]", by);
  }

  void write_key(const Value& key, Origin origin) {
    if (key.is_string()) return add_json(out_, key.string().text, origin, style_.ascii_only);
    if (!key.is_none() && !key.is_number()) {
      return machine_.fail(fmt::format("found a {} as a key, wanted a string", type_name(key)));
    }
    out_.add("\"", origin);
    write(key, 0, origin);
    out_.add("\"", origin);
  }

  void write_dict(const DictObject& dict, int level) {
    const Origin by = author(dict.made_by);
    if (dict.entries.empty()) return out_.add("{}", by);
    std::vector<const DictObject::Entry*> entries;
    for (const DictObject::Entry& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      merge_sort(entries, [this](const auto* a, const auto* b) {
        return !machine_.failed() && less(machine_, a->key, b->key);
      });
    }
    out_.add("{", by);
    for (size_t i = 0; i < entries.size() && !machine_.failed(); ++i) {
      if (i > 0) out_.add(style_.between_items, by);
      new_line(level + 1, by);
      write_key(entries[i]->key, by);
      out_.add(style_.after_key, by);
      write(entries[i]->value, level + 1, by);
    }
    new_line(level, by);
    out_.add("}", by);
  }

  Builder& out_;
  Machine& machine_;
  const JsonStyle& style_;
};

}  // namespace

void add_json(Builder& out, Machine& machine, const Value& value, const JsonStyle& style) {
  Writer(out, machine, style).write(value, 0, Origin::kTemplate);
}

}  // namespace ration::jinja
