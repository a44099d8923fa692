// Filters that compare elements: sort, group, pick the least or the greatest, drop repeats.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "model/template/filters.h"
#include "model/template/merge_sort.h"
#include "model/template/operations.h"
#include "model/template/render.h"
#include "model/template/strings.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

Value without_case(Machine& machine, const Value& value) {
  return value.is_string() ? lower(machine, value.string()) : value;
}

struct Keyed {
  Value key;
  Value item;
};

// Equal keys keep their order, backwards too.
void sort_by_key(Machine& machine, std::vector<Keyed>& items, bool backwards) {
  merge_sort(items, [&](const Keyed& a, const Keyed& b) {
    if (machine.failed()) return false;
    return backwards ? less(machine, b.key, a.key) : less(machine, a.key, b.key);
  });
}

std::vector<Value> items_of(const std::vector<Keyed>& keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (const Keyed& entry : keyed) items.push_back(entry.item);
  return items;
}

// "a,b.c": one path for each part.
std::vector<AttributePath> attribute_paths(Machine& machine, const Value& attribute) {
  std::vector<AttributePath> paths;
  if (!attribute.is_string()) {
    paths.emplace_back(machine, attribute);
    return paths;
  }
  const Value comma = make_string(machine, ",");
  for (const Piece piece : split(machine, attribute.string(), &comma.string(), -1)) {
    paths.emplace_back(machine, piece_of(machine, attribute.string(), piece));
  }
  return paths;
}

}  // namespace

Value filter_sort(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool cased = bound.flag(1, false);
  const auto paths = attribute_paths(machine, bound.or_else(2, Value::none()));
  std::vector<Keyed> items;
  Cursor cursor(machine, input);
  for (Value item; !machine.failed() && cursor.next(machine, item);) {
    std::vector<Value> key;
    for (const AttributePath& path : paths) {
      const Value part = path.follow(renderer, item);
      key.push_back(cased ? part : without_case(machine, part));
    }
    items.push_back({make_list(machine, std::move(key)), item});
  }
  sort_by_key(machine, items, bound.flag(0, false));
  return make_list(machine, items_of(items));
}

Value filter_dictsort(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const StringObject* by = bound.string(1);
  const std::string_view order = by ? by->text.view() : "key";
  if (fail_if_undefined(machine, input)) return {};
  if (!input.is(Kind::kDict)) machine.fail("dictsort: wanted a mapping");
  if (order != "key" && order != "value") machine.fail("dictsort: by must be key or value");
  if (machine.failed()) return {};
  std::vector<Keyed> items;
  for (const DictObject::Entry& entry : input.dict().entries) {
    const Value key = order == "key" ? entry.key : entry.value;
    items.push_back({bound.flag(0, false) ? key : without_case(machine, key),
                     make_tuple(machine, {entry.key, entry.value})});
    if (!machine.step()) return {};
  }
  sort_by_key(machine, items, bound.flag(2, false));
  return make_list(machine, items_of(items));
}

Value filter_groupby(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const AttributePath path(machine, bound[0]);
  const Value otherwise = bound.or_else(1, Value::none());
  const Value* fallback = otherwise.is_none() ? nullptr : &otherwise;
  const bool cased = bound.flag(2, false);
  std::vector<Keyed> items;
  Cursor cursor(machine, input);
  for (Value item; !machine.failed() && cursor.next(machine, item);) {
    const Value key = path.follow(renderer, item, fallback);
    items.push_back({cased ? key : without_case(machine, key), item});
  }
  sort_by_key(machine, items, false);
  std::vector<Value> groups;
  for (size_t begin = 0, end = 0; begin < items.size() && !machine.failed(); begin = end) {
    std::vector<Value> members;
    while (end < items.size() && equal(machine, items[begin].key, items[end].key)) {
      members.push_back(items[end++].item);
    }
    if (machine.failed()) break;
    auto* group = machine.make<ListObject>();
    group->group = true;
    // The name of the group as its first member spells it.
    group->items = {path.follow(renderer, members[0], fallback),
                    make_list(machine, std::move(members))};
    groups.push_back(Value::tuple(group));
  }
  return make_list(machine, std::move(groups));
}

namespace {

Value extreme(Renderer& renderer, std::string_view name, const Value& input,
              CallArguments& arguments, bool greatest) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, name, arguments, {"case_sensitive", "attribute"});
  const AttributePath path(machine, bound.or_else(1, Value::none()));
  const bool cased = bound.flag(0, false);
  std::optional<Keyed> best;
  Cursor cursor(machine, input);
  for (Value item; !machine.failed() && cursor.next(machine, item);) {
    const Value part = path.follow(renderer, item);
    const Value key = cased ? part : without_case(machine, part);
    const bool better =
        !best || (greatest ? less(machine, best->key, key) : less(machine, key, best->key));
    if (better) best = Keyed{key, item};
  }
  return best ? best->item : undefined_hint(machine, "no item, the sequence was empty");
}

}  // namespace

Value filter_max(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return extreme(renderer, "max", input, arguments, /*greatest=*/true);
}

Value filter_min(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return extreme(renderer, "min", input, arguments, /*greatest=*/false);
}

Value filter_unique(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "unique", arguments, {"case_sensitive", "attribute"});
  const AttributePath path(machine, bound.or_else(1, Value::none()));
  const bool cased = bound.flag(0, false);
  if (!Cursor::can_walk(input)) return not_iterable(machine, input);
  std::set<std::string_view> texts;
  std::vector<Value> others, items;
  Cursor cursor(machine, input);
  for (Value item; !machine.failed() && cursor.next(machine, item);) {
    const Value part = path.follow(renderer, item);
    const Value key = cased ? part : without_case(machine, part);
    if (key.is_string()) {
      machine.touch(key.text().size());
      if (!texts.insert(key.text()).second) continue;
    } else {
      if (!hashable(machine, key)) machine.fail("unique: unhashable item");
      const bool known = std::ranges::any_of(
          others, [&](const Value& other) { return equal(machine, other, key); });
      if (known) continue;
      others.push_back(key);
    }
    items.push_back(item);
  }
  return make_iterator(machine, std::move(items));
}

}  // namespace ration::jinja
