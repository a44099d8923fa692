// Filters that walk something and give its elements.
#include <fmt/core.h>

#include <algorithm>

#include "model/template/filters.h"
#include "model/template/operations.h"
#include "model/template/render.h"
#include "model/template/strings.h"

namespace ration::jinja {

using Kind = Value::Kind;

AttributePath::AttributePath(Machine& machine, const Value& attribute) {
  if (attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  const Value dot = make_string(machine, ".");
  const StringObject& path = attribute.string();
  for (const Piece piece : split(machine, path, &dot.string(), -1)) {
    const std::string_view text = path.text.view().substr(piece.begin, piece.end - piece.begin);
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == text.npos;
    const std::optional<Value> index = digits ? parse_integer(machine, text, 10) : std::nullopt;
    parts_.push_back(index ? *index : piece_of(machine, path, piece));
  }
}

Value AttributePath::follow(Renderer& renderer, Value item, const Value* otherwise) const {
  for (const Value& part : parts_) {
    item = renderer.item(item, part);
    if (otherwise && item.is_undefined()) item = *otherwise;
  }
  return item;
}

Value filter_length(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "length", arguments, {});
  if (input.is(Kind::kLoop)) return renderer.loop_attribute(input.loop(), "length");
  const std::optional<int64_t> length = length_of(input);
  if (!length) machine.fail(fmt::format("object of type '{}' has no length", type_name(input)));
  return Value::of(length.value_or(0));
}

Value filter_list(Renderer& renderer, const Value& input, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "list", arguments, {});
  const Origin origin = input.is(Kind::kList) ? input.list().made_by : Origin::kTemplate;
  return make_list(renderer.machine(), elements_of(renderer.machine(), input), origin);
}

Value filter_first(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "first", arguments, {});
  Cursor cursor(machine, input);
  Value item;
  return cursor.next(machine, item) ? item : undefined_hint(machine, "no first item");
}

Value not_iterable(Machine& machine, const Value& input) {
  return make_failing_iterator(machine,
                               fmt::format("'{}' object is not iterable", type_name(input)));
}

namespace {

// reversed(): what has a length and an order. Fails for generators and numbers.
bool can_reverse(const Value& value) {
  return length_of(value).has_value() && !value.is_undefined();
}

std::vector<Value> backwards(Machine& machine, const Value& value) {
  std::vector<Value> items = elements_of(machine, value);
  std::ranges::reverse(items);
  return items;
}

}  // namespace

Value filter_last(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "last", arguments, {});
  if (!can_reverse(input) && !input.is_undefined()) {
    machine.fail(fmt::format("'{}' object is not reversible", type_name(input)));
    return {};
  }
  if (length_of(input).value_or(0) == 0) return undefined_hint(machine, "no last item");
  if (input.is(Kind::kDict)) return input.dict().entries.back().key;
  return element(machine, input, -1).value_or(Value());
}

Value filter_reverse(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "reverse", arguments, {});
  if (input.is_string()) {
    return slice(machine, input, Value::none(), Value::none(), Value::of(int64_t{-1}));
  }
  std::vector<Value> items = backwards(machine, input);
  // A generator has no order to walk backwards, so Jinja makes a list of it.
  return input.is(Kind::kIterator) ? make_list(machine, std::move(items))
                                   : make_iterator(machine, std::move(items));
}

Value filter_items(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "items", arguments, {});
  std::vector<Value> items;
  if (input.is(Kind::kDict)) {
    for (const DictObject::Entry& entry : input.dict().entries) {
      if (!machine.step()) break;
      items.push_back(make_tuple(machine, {entry.key, entry.value}));
    }
  } else if (!input.is_undefined()) {
    return make_failing_iterator(machine, "items: wanted a mapping");
  }
  return make_iterator(machine, std::move(items));
}

Value filter_batch(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t count = bound.integer(0, 1);
  const Value fill = bound.or_else(1, Value::none());
  if (!Cursor::can_walk(input)) return not_iterable(machine, input);
  std::vector<Value> batches, batch;
  Cursor cursor(machine, input);
  for (Value item; cursor.next(machine, item);) {
    if (static_cast<int64_t>(batch.size()) == count) {
      batches.push_back(make_list(machine, std::exchange(batch, {})));
    }
    batch.push_back(item);
  }
  if (!batch.empty() && !machine.failed()) {
    const int64_t missing = count - static_cast<int64_t>(batch.size());
    if (!fill.is_none() && missing > 0 && machine.step(missing)) {
      batch.insert(batch.end(), static_cast<size_t>(missing), fill);
    }
    batches.push_back(make_list(machine, std::move(batch)));
  }
  return make_iterator(machine, std::move(batches));
}

Value filter_slice(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "slice", arguments, {"slices", "fill_with"}, 1);
  const int64_t count = bound.integer(0, 1);
  const Value fill = bound.or_else(1, Value::none());
  if (!Cursor::can_walk(input)) return not_iterable(machine, input);
  const std::vector<Value> items = elements_of(machine, input);
  if (count == 0) machine.fail("slice: division by zero");
  if (machine.failed() || (count > 0 && !machine.step(count))) return {};
  std::vector<Value> slices;
  auto next = items.begin();
  for (int64_t i = 0; i < count && !machine.failed(); ++i) {
    const auto size = static_cast<int64_t>(items.size());
    const bool extra = i < size % count;
    const auto end = next + (size / count + (extra ? 1 : 0));
    std::vector<Value> part(next, end);
    if (!fill.is_none() && !extra) part.push_back(fill);
    slices.push_back(make_list(machine, std::move(part)));
    next = end;
  }
  return make_iterator(machine, std::move(slices));
}

namespace {

// map(attribute=..., default=...).
Value map_attribute(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  Value attribute, otherwise;
  arguments.take_keyword("attribute", attribute);
  const bool has_default = arguments.take_keyword("default", otherwise) && !otherwise.is_none();
  if (!arguments.keywords.empty()) {
    machine.fail(fmt::format("map: unexpected argument '{}'", arguments.keywords[0].text()));
  }
  const AttributePath path(machine, attribute);
  std::vector<Value> items;
  Cursor cursor(machine, input);
  for (Value item; !machine.failed() && cursor.next(machine, item);) {
    items.push_back(path.follow(renderer, item, has_default ? &otherwise : nullptr));
  }
  return make_iterator(machine, std::move(items));
}

}  // namespace

Value filter_map(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  if (!truthy(input)) return make_iterator(machine, {});
  if (!Cursor::can_walk(input)) return not_iterable(machine, input);
  const bool attribute = std::ranges::any_of(
      arguments.keywords, [](const auto& keyword) { return keyword.text() == "attribute"; });
  if (arguments.positional.empty() && attribute) return map_attribute(renderer, input, arguments);
  if (arguments.positional.empty() || !arguments.positional[0].is_string()) {
    machine.fail("map: wanted a filter's name");
    return {};
  }
  const std::string_view name = arguments.positional[0].text();
  const int row = find_filter(name);
  if (row < 0) {
    machine.fail(unsupported_filter(name) ? Code::kUnsupported : Code::kInvalid,
                 fmt::format("map: no filter '{}'", name));
  }
  std::vector<Value> items;
  Cursor cursor(machine, input);
  for (Value item; !machine.failed() && cursor.next(machine, item);) {
    CallArguments rest;
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.keywords = arguments.keywords;
    items.push_back(apply_filter(renderer, row, item, rest));
  }
  return make_iterator(machine, std::move(items));
}

namespace {

struct Selection {
  bool by_attribute;
  bool keep;  // what passes the test, or what does not
};

Value selected(Renderer& renderer, const Value& input, CallArguments& arguments,
               Selection selection) {
  Machine& machine = renderer.machine();
  if (!truthy(input)) return make_iterator(machine, {});
  if (!Cursor::can_walk(input)) return not_iterable(machine, input);
  const size_t offset = selection.by_attribute ? 1 : 0;
  if (arguments.positional.size() < offset) {
    machine.fail("wanted an attribute's name");
    return {};
  }
  const AttributePath path(machine, offset > 0 ? arguments.positional[0] : Value::none());
  int row = -1;
  if (arguments.positional.size() > offset) {
    const Value& name = arguments.positional[offset];
    row = name.is_string() ? find_test(name.text()) : -1;
    if (row < 0) {
      machine.fail(fmt::format("no test '{}'", name.is_string() ? name.text() : type_name(name)));
    }
  }
  std::vector<Value> items;
  Cursor cursor(machine, input);
  for (Value item; !machine.failed() && cursor.next(machine, item);) {
    const Value tested = path.follow(renderer, item);
    CallArguments rest;
    if (row >= 0) {
      rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(offset) + 1,
                             arguments.positional.end());
      rest.keywords = arguments.keywords;
    }
    const bool passes = row >= 0 ? apply_test(renderer, row, tested, rest) : truthy(tested);
    if (passes == selection.keep) items.push_back(item);
  }
  return make_iterator(machine, std::move(items));
}

}  // namespace

Value filter_select(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return selected(renderer, input, arguments, {.by_attribute = false, .keep = true});
}

Value filter_reject(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return selected(renderer, input, arguments, {.by_attribute = false, .keep = false});
}

Value filter_selectattr(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return selected(renderer, input, arguments, {.by_attribute = true, .keep = true});
}

Value filter_rejectattr(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return selected(renderer, input, arguments, {.by_attribute = true, .keep = false});
}

}  // namespace ration::jinja
