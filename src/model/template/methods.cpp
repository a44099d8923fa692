// The table of methods, and the methods of lists, dicts, loops and cyclers.
#include "model/template/methods.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

Value list_count(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "count", arguments, {""}, 1);
  int64_t count = 0;
  for (const Value& item : self.list().items) {
    if (machine.failed()) break;
    count += equal(machine, item, bound[0]) ? 1 : 0;
  }
  return Value::of(count);
}

Value list_index(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "index", arguments, {"", "", ""}, 1);
  const auto size = static_cast<int64_t>(self.list().items.size());
  const auto clamp = [size](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
  };
  const int64_t end = clamp(bound.integer(2, size));
  for (int64_t i = clamp(bound.integer(1, 0)); i < end && !machine.failed(); ++i) {
    if (equal(machine, self.list().items[static_cast<size_t>(i)], bound[0])) return Value::of(i);
  }
  machine.fail("index: the item is not in the list");
  return {};
}

// Lists and dicts cannot change, so a copy is the thing itself.
Value copy(Renderer& renderer, const Value& self, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "copy", arguments, {});
  return self;
}

Value dict_get(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "get", arguments, {"", ""}, 1);
  if (machine.failed()) return {};
  if (!hashable(machine, bound[0])) {
    machine.fail(fmt::format("unhashable type: '{}'", type_name(bound[0])));
    return {};
  }
  const Value* found = find(machine, self.dict(), bound[0]);
  return found ? *found : bound.or_else(1, Value::none());
}

Value dict_view(Renderer& renderer, const Value& self, CallArguments& arguments, Kind kind) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "the view of a dict", arguments, {});
  std::vector<Value> items;
  items.reserve(self.dict().entries.size());
  for (const DictObject::Entry& entry : self.dict().entries) {
    if (!machine.step()) return {};
    items.push_back(kind == Kind::kKeys     ? entry.key
                    : kind == Kind::kValues ? entry.value
                                            : make_tuple(machine, {entry.key, entry.value}));
  }
  const Value list = make_list(machine, std::move(items), self.dict().made_by);
  return Value::view(kind, &list.list());
}

Value dict_items(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return dict_view(renderer, self, arguments, Kind::kItems);
}

Value dict_keys(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return dict_view(renderer, self, arguments, Kind::kKeys);
}

Value dict_values(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return dict_view(renderer, self, arguments, Kind::kValues);
}

Value loop_cycle(Renderer& renderer, const Value& self, CallArguments& arguments) {
  if (arguments.positional.empty() || !arguments.keywords.empty()) {
    renderer.machine().fail("cycle: wanted at least one item");
    return {};
  }
  const auto round = static_cast<size_t>(std::max<int64_t>(0, self.loop().index0));
  return arguments.positional[round % arguments.positional.size()];
}

Value loop_changed(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  std::optional<std::vector<Value>>& before = self.loop().changed;
  bool same = before && before->size() == arguments.positional.size();
  for (size_t i = 0; same && i < before->size(); ++i) {
    same = equal(machine, (*before)[i], arguments.positional[i]);
  }
  machine.hold(arguments.positional.size() * sizeof(Value));
  before = arguments.positional;
  return Value::of(!same);
}

Value cycler_next(Renderer& renderer, const Value& self, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "next", arguments, {});
  CyclerObject& cycler = self.cycler();
  const Value item = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return item;
}

Value cycler_reset(Renderer& renderer, const Value& self, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "reset", arguments, {});
  self.cycler().position = 0;
  return Value::none();
}

enum class Access : uint8_t {
  kAllowed,
  kForbidden,    // would change its object: the sandbox makes it undefined
  kUnsupported,  // Python has it, we do not
};

struct Row {
  Kind owner;
  std::string_view name;
  MethodCall call;
  Access access = Access::kAllowed;
};

constexpr std::array kMethods{
    Row{Kind::kDict, "get", dict_get},
    Row{Kind::kDict, "items", dict_items},
    Row{Kind::kDict, "keys", dict_keys},
    Row{Kind::kDict, "values", dict_values},
    Row{Kind::kDict, "copy", copy},
    Row{Kind::kDict, "clear", nullptr, Access::kForbidden},
    Row{Kind::kDict, "pop", nullptr, Access::kForbidden},
    Row{Kind::kDict, "popitem", nullptr, Access::kForbidden},
    Row{Kind::kDict, "setdefault", nullptr, Access::kForbidden},
    Row{Kind::kDict, "update", nullptr, Access::kForbidden},
    Row{Kind::kDict, "fromkeys", nullptr, Access::kUnsupported},
    Row{Kind::kList, "count", list_count},
    Row{Kind::kList, "index", list_index},
    Row{Kind::kList, "copy", copy},
    Row{Kind::kList, "append", nullptr, Access::kForbidden},
    Row{Kind::kList, "clear", nullptr, Access::kForbidden},
    Row{Kind::kList, "extend", nullptr, Access::kForbidden},
    Row{Kind::kList, "insert", nullptr, Access::kForbidden},
    Row{Kind::kList, "pop", nullptr, Access::kForbidden},
    Row{Kind::kList, "remove", nullptr, Access::kForbidden},
    Row{Kind::kList, "reverse", nullptr, Access::kForbidden},
    Row{Kind::kList, "sort", nullptr, Access::kForbidden},
    Row{Kind::kTuple, "count", list_count},
    Row{Kind::kTuple, "index", list_index},
    Row{Kind::kRange, "count", nullptr, Access::kUnsupported},
    Row{Kind::kRange, "index", nullptr, Access::kUnsupported},
    Row{Kind::kLoop, "cycle", loop_cycle},
    Row{Kind::kLoop, "changed", loop_changed},
    Row{Kind::kCycler, "next", cycler_next},
    Row{Kind::kCycler, "reset", cycler_reset},
    Row{Kind::kString, "capitalize", method_capitalize},
    Row{Kind::kString, "casefold", method_casefold},
    Row{Kind::kString, "center", method_center},
    Row{Kind::kString, "count", method_count},
    Row{Kind::kString, "encode", nullptr, Access::kUnsupported},
    Row{Kind::kString, "endswith", method_endswith},
    Row{Kind::kString, "expandtabs", method_expandtabs},
    Row{Kind::kString, "find", method_find},
    Row{Kind::kString, "format", method_format},
    Row{Kind::kString, "format_map", nullptr, Access::kUnsupported},
    Row{Kind::kString, "index", method_index},
    Row{Kind::kString, "isalnum", method_isalnum},
    Row{Kind::kString, "isalpha", method_isalpha},
    Row{Kind::kString, "isascii", method_isascii},
    Row{Kind::kString, "isdecimal", method_isdigit},
    Row{Kind::kString, "isdigit", method_isdigit},
    Row{Kind::kString, "isidentifier", nullptr, Access::kUnsupported},
    Row{Kind::kString, "islower", method_islower},
    Row{Kind::kString, "isnumeric", method_isnumeric},
    Row{Kind::kString, "isprintable", nullptr, Access::kUnsupported},
    Row{Kind::kString, "isspace", method_isspace},
    Row{Kind::kString, "istitle", nullptr, Access::kUnsupported},
    Row{Kind::kString, "isupper", method_isupper},
    Row{Kind::kString, "join", method_join},
    Row{Kind::kString, "ljust", method_ljust},
    Row{Kind::kString, "lower", method_lower},
    Row{Kind::kString, "lstrip", method_lstrip},
    Row{Kind::kString, "maketrans", nullptr, Access::kUnsupported},
    Row{Kind::kString, "partition", method_partition},
    Row{Kind::kString, "removeprefix", method_removeprefix},
    Row{Kind::kString, "removesuffix", method_removesuffix},
    Row{Kind::kString, "replace", method_replace},
    Row{Kind::kString, "rfind", method_rfind},
    Row{Kind::kString, "rindex", method_rindex},
    Row{Kind::kString, "rjust", method_rjust},
    Row{Kind::kString, "rpartition", method_rpartition},
    Row{Kind::kString, "rsplit", method_rsplit},
    Row{Kind::kString, "rstrip", method_rstrip},
    Row{Kind::kString, "split", method_split},
    Row{Kind::kString, "splitlines", method_splitlines},
    Row{Kind::kString, "startswith", method_startswith},
    Row{Kind::kString, "strip", method_strip},
    Row{Kind::kString, "swapcase", method_swapcase},
    Row{Kind::kString, "title", method_title},
    Row{Kind::kString, "translate", nullptr, Access::kUnsupported},
    Row{Kind::kString, "upper", method_upper},
    Row{Kind::kString, "zfill", method_zfill},
};

// Attributes of numbers that Python has; no template is known to use one.
constexpr std::array<std::string_view, 12> kOfNumbers = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate",
    "denominator",      "fromhex",   "hex",        "imag",
    "is_integer",       "numerator", "real",       "to_bytes"};

}  // namespace

std::optional<Value> find_method(Renderer& renderer, const Value& self, const StringObject& name) {
  Machine& machine = renderer.machine();
  const std::string_view text = name.text.view();
  const auto refuse = [&] {
    machine.fail(Code::kUnsupported,
                 fmt::format("'{}' of {} is not supported", text, type_name(self)));
    return Value();
  };
  if (self.is_number()) {
    for (const std::string_view known : kOfNumbers) {
      if (text == known) return refuse();
    }
    return std::nullopt;
  }
  for (size_t i = 0; i < kMethods.size(); ++i) {
    const Row& row = kMethods[i];
    if (row.owner != self.kind() || row.name != text) continue;
    if (row.access == Access::kUnsupported) return refuse();
    if (row.access == Access::kForbidden) {
      return Value::undefined(Missing::kUnsafe, &name, self.kind());
    }
    return Value::of(machine.make<MethodObject>(self, static_cast<int>(i)));
  }
  return std::nullopt;
}

Value call_method(Renderer& renderer, const MethodObject& method, CallArguments& arguments) {
  const Row& row = kMethods[static_cast<size_t>(method.id)];
  const Value result = row.call(renderer, method.self, arguments);
  return renderer.machine().failed() ? Value() : result;
}

}  // namespace ration::jinja
