// x.name, x[key] and x[a:b]: Python's look-ups inside the sandbox. Nothing that begins with two
// underscores is ever reached, and nothing that would change its object.
#include <fmt/core.h>

#include "base/text.h"
#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

Value unsafe(const Value& of, const StringObject& name) {
  return Value::undefined(Missing::kUnsafe, &name, of.kind());
}

std::optional<Value> range_attribute(const RangeObject& range, std::string_view name) {
  if (name == "start") return Value::of(range.start);
  if (name == "stop") return Value::of(range.stop);
  if (name == "step") return Value::of(range.step);
  return std::nullopt;
}

std::optional<Value> cycler_attribute(Machine& machine, CyclerObject& cycler,
                                      std::string_view name) {
  if (name == "current") return cycler.items[cycler.position];
  if (name == "items") return make_tuple(machine, cycler.items);
  if (name == "pos") return Value::of(static_cast<int64_t>(cycler.position));
  return std::nullopt;
}

}  // namespace

// What Python's getattr() finds, before any look at the items.
std::optional<Value> Renderer::own_attribute(const Value& of, const StringObject& name) {
  const std::string_view text = name.text.view();
  if (of.is(Kind::kNamespace)) {
    const Value* value = find(machine_, of.space(), text);
    if (!value) return std::nullopt;
    return text.starts_with('_') ? unsafe(of, name) : *value;
  }
  if (text.starts_with("__")) return unsafe(of, name);
  std::optional<Value> found;
  switch (of.kind()) {
    case Kind::kLoop: {
      const Value value = loop_attribute(of.loop(), text);
      // A real undefined (nextitem of the last) has a story; an unknown name has none.
      if (!value.is_undefined() || value.name()) return value;
      break;
    }
    case Kind::kMacro: {
      const Value value = macro_attribute(of.macro(), text);
      if (!value.is_undefined()) return value;
      break;
    }
    case Kind::kRange:
      found = range_attribute(of.range(), text);
      break;
    case Kind::kCycler:
      found = cycler_attribute(machine_, of.cycler(), text);
      break;
    case Kind::kTuple:
      if (of.list().group && text == "grouper") return of.list().items[0];
      if (of.list().group && text == "list") return of.list().items[1];
      break;
    default:
      break;
  }
  return found ? found : find_method(*this, of, name);
}

Value Renderer::attribute(const Value& of, const StringObject& name) {
  if (machine_.failed() || fail_if_undefined(machine_, of)) return {};
  if (const std::optional<Value> own = own_attribute(of, name)) return *own;
  if (of.is(Kind::kDict)) {
    if (const Value* value = find(machine_, of.dict(), name.text.view())) return *value;
  }
  return Value::undefined(Missing::kAttribute, &name, of.kind());
}

Value Renderer::item(const Value& of, const Value& key) {
  if (machine_.failed() || fail_if_undefined(machine_, of)) return {};
  if (of.is(Kind::kDict)) {
    const Value* value = hashable(machine_, key) ? find(machine_, of.dict(), key) : nullptr;
    if (value) return *value;
  } else if (key.is_integer() &&
             (of.is(Kind::kList) || of.is(Kind::kTuple) || of.is_string() || of.is(Kind::kRange))) {
    if (const std::optional<Value> found = element(machine_, of, key.wide())) return *found;
  }
  if (!key.is_string()) return Value::undefined(Missing::kElement, nullptr, of.kind());
  if (const std::optional<Value> own = own_attribute(of, key.string())) return *own;
  return Value::undefined(Missing::kAttribute, &key.string(), of.kind());
}

namespace {

struct Bounds {
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  int64_t count = 0;
};

// Python's slice.indices().
std::optional<Bounds> bounds_of(Machine& machine, int64_t length, const Value& start,
                                const Value& stop, const Value& step) {
  for (const Value* part : {&start, &stop, &step}) {
    if (fail_if_undefined(machine, *part)) return std::nullopt;
    if (!part->is_none() && !part->is_integer()) {
      machine.fail("slice indices must be integers or none");
      return std::nullopt;
    }
  }
  const __int128 by = step.is_none() ? 1 : step.wide();
  if (by == 0) {
    machine.fail("slice step cannot be zero");
    return std::nullopt;
  }
  const auto clamp = [&](const Value& bound, __int128 otherwise) {
    if (bound.is_none()) return otherwise;
    __int128 at = bound.wide();
    if (at < 0) at += length;
    const __int128 least = by < 0 ? -1 : 0, most = by < 0 ? length - 1 : length;
    return at < least ? least : at > most ? most : at;
  };
  const __int128 from = clamp(start, by < 0 ? length - 1 : 0);
  const __int128 to = clamp(stop, by < 0 ? -1 : length);
  Bounds bounds{static_cast<int64_t>(from), static_cast<int64_t>(to), 1, 0};
  // A step beyond the length takes one element, whatever it is.
  bounds.step = static_cast<int64_t>(by > length ? length + 1 : by < -length ? -length - 1 : by);
  const __int128 span = by < 0 ? from - to : to - from;
  const __int128 stride = by < 0 ? -by : by;
  if (span > 0) bounds.count = static_cast<int64_t>((span + stride - 1) / stride);
  return bounds;
}

Value slice_string(Machine& machine, const StringObject& string, const Bounds& bounds) {
  const std::string_view view = string.text.view();
  if (bounds.step == 1) {
    const size_t begin = byte_offset(machine, string, bounds.start);
    const size_t end = byte_offset(machine, string, bounds.start + bounds.count);
    machine.hold(end - begin);
    return make_string(machine, string.text.slice(begin, end), string.markup);
  }
  machine.hold(static_cast<size_t>(string.length) * sizeof(size_t));
  if (machine.failed()) return {};
  std::vector<size_t> starts;  // of each code point
  for (size_t i = 0; i < view.size();
       i += static_cast<size_t>(read_code_point(view.substr(i)).length)) {
    starts.push_back(i);
  }
  starts.push_back(view.size());
  Builder out(machine);
  for (int64_t i = 0; i < bounds.count && !machine.failed(); ++i) {
    const auto at = static_cast<size_t>(bounds.start + i * bounds.step);
    out.add(string.text, starts[at], starts[at + 1]);
  }
  return make_string(machine, out.take(), string.markup);
}

}  // namespace

Value slice(Machine& machine, const Value& of, const Value& start, const Value& stop,
            const Value& step) {
  if (machine.failed() || fail_if_undefined(machine, of)) return {};
  const bool list = of.is(Kind::kList) || of.is(Kind::kTuple);
  if (!list && !of.is_string() && !of.is(Kind::kRange)) {
    machine.fail(fmt::format("'{}' object cannot be sliced", type_name(of)));
    return {};
  }
  const std::optional<Bounds> bounds =
      bounds_of(machine, length_of(of).value_or(0), start, stop, step);
  if (!bounds || !machine.step(bounds->count / 16)) return {};
  if (of.is_string()) return slice_string(machine, of.string(), *bounds);
  if (of.is(Kind::kRange)) {
    auto* range = machine.make<RangeObject>();
    range->start = of.range().at(bounds->start);
    // A single element needs no stride, which keeps slices of slices from overflowing.
    range->step = bounds->count > 1 ? of.range().step * bounds->step : 1;
    range->length = bounds->count;
    range->stop = of.range().at(bounds->stop);
    return Value::of(range);
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(bounds->count));
  for (int64_t i = 0; i < bounds->count; ++i) {
    items.push_back(of.list().items[static_cast<size_t>(bounds->start + i * bounds->step)]);
  }
  return of.is(Kind::kTuple) ? make_tuple(machine, std::move(items))
                             : make_list(machine, std::move(items), of.list().made_by);
}

}  // namespace ration::jinja
