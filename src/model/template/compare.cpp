// Equality, order and membership as Python has them, and the dict look-ups built on them.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "model/template/search.h"
#include "model/template/value.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

constexpr size_t kScanMax = 8;  // dicts up to this size are searched entry by entry

// -1, 0, 1; 2 when one is not a number.
int compare_numbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) {
    const __int128 left = a.wide(), right = b.wide();
    return left < right ? -1 : left > right ? 1 : 0;
  }
  // 64 bits of mantissa hold every integer we have and every double.
  const auto wide = [](const Value& value) {
    return value.is(Kind::kFloat) ? static_cast<long double>(value.real())
                                  : static_cast<long double>(value.wide());
  };
  const long double left = wide(a), right = wide(b);
  return left < right ? -1 : left > right ? 1 : left == right ? 0 : 2;
}

bool equal_text(Machine& machine, std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  machine.touch(a.size());
  return a == b;
}

bool equal_lists(Machine& machine, const ListObject& a, const ListObject& b) {
  if (&a == &b) return true;
  if (a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(machine, a.items[i], b.items[i])) return false;
  }
  return !machine.failed();
}

bool equal_dicts(Machine& machine, const DictObject& a, const DictObject& b) {
  if (&a == &b) return true;
  if (a.entries.size() != b.entries.size()) return false;
  for (const DictObject::Entry& entry : a.entries) {
    const Value* other = find(machine, b, entry.key);
    if (!other || !equal(machine, entry.value, *other)) return false;
  }
  return !machine.failed();
}

// Keys and items compare as sets.
bool equal_sets(Machine& machine, const Value& a, const Value& b) {
  if (a.list().items.size() != b.list().items.size()) return false;
  return std::ranges::all_of(a.list().items,
                             [&](const Value& item) { return contains(machine, b, item); });
}

bool equal_ranges(const RangeObject& a, const RangeObject& b) {
  if (a.length != b.length) return false;
  return a.length == 0 || (a.start == b.start && (a.length == 1 || a.step == b.step));
}

}  // namespace

bool equal(Machine& machine, const Value& a, const Value& b) {
  const Machine::Nested nested(machine);
  if (!machine.step()) return false;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) {
    const bool sets =
        (a.is(Kind::kKeys) && b.is(Kind::kItems)) || (a.is(Kind::kItems) && b.is(Kind::kKeys));
    return sets && equal_sets(machine, a, b);
  }
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      return equal_text(machine, a.text(), b.text());
    case Kind::kList:
    case Kind::kTuple:
      return equal_lists(machine, a.list(), b.list());
    case Kind::kKeys:
    case Kind::kItems:
      return equal_sets(machine, a, b);
    case Kind::kDict:
      return equal_dicts(machine, a.dict(), b.dict());
    case Kind::kRange:
      return equal_ranges(a.range(), b.range());
    case Kind::kFunction:
      return a.index() == b.index();
    case Kind::kMethod:
      return a.method().id == b.method().id && equal(machine, a.method().self, b.method().self);
    default:
      return a.identity() == b.identity();
  }
}

bool less(Machine& machine, const Value& a, const Value& b) {
  const Machine::Nested nested(machine);
  if (!machine.step()) return false;
  if (fail_if_undefined(machine, a) || fail_if_undefined(machine, b)) return false;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == -1;
  if (a.is_string() && b.is_string()) {
    // The byte order of UTF-8 is the order of code points.
    machine.touch(std::min(a.text().size(), b.text().size()));
    return a.text() < b.text();
  }
  if (a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple))) {
    const auto &left = a.list().items, &right = b.list().items;
    for (size_t i = 0; i < std::min(left.size(), right.size()) && !machine.failed(); ++i) {
      if (!equal(machine, left[i], right[i])) return less(machine, left[i], right[i]);
    }
    return left.size() < right.size();
  }
  machine.fail(fmt::format("'<' not supported between instances of '{}' and '{}'", type_name(a),
                           type_name(b)));
  return false;
}

bool hashable(Machine& machine, const Value& value) {
  const Machine::Nested nested(machine);
  if (!machine.step()) return false;
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kKeys:
    case Kind::kItems:
      return false;
    case Kind::kTuple:
      return std::ranges::all_of(value.list().items,
                                 [&](const Value& item) { return hashable(machine, item); });
    default:
      return true;
  }
}

namespace {

bool contains_text(Machine& machine, const Value& container, const Value& item) {
  if (!item.is_string()) {
    machine.fail(
        fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
    return false;
  }
  machine.search(container.text().size());
  return find_text(container.text(), item.text()) != std::string_view::npos;
}

bool contains_key(Machine& machine, const Value& container, const Value& item) {
  if (!hashable(machine, item)) {
    machine.fail(fmt::format("unhashable type: '{}'", type_name(item)));
    return false;
  }
  return find(machine, container.dict(), item) != nullptr;
}

}  // namespace

bool contains(Machine& machine, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::kString:
      return contains_text(machine, container, item);
    case Kind::kDict:
      return contains_key(machine, container, item);
    case Kind::kRange: {
      const RangeObject& range = container.range();
      if (!item.is_integer()) break;
      const __int128 offset = item.wide() - range.start;
      return offset % range.step == 0 && offset / range.step >= 0 &&
             offset / range.step < range.length;
    }
    default:
      break;
  }
  if (!Cursor::can_walk(container)) {
    machine.fail(fmt::format("argument of type '{}' is not iterable", type_name(container)));
    return false;
  }
  Cursor cursor(machine, container);
  for (Value found; cursor.next(machine, found);) {
    if (equal(machine, found, item)) return true;
  }
  return false;
}

const Value* find(Machine& machine, const DictObject& dict, std::string_view key) {
  if (dict.by_text.empty()) {
    for (const DictObject::Entry& entry : dict.entries) {
      if (entry.key.is_string() && equal_text(machine, entry.key.text(), key)) return &entry.value;
    }
    return nullptr;
  }
  machine.touch(key.size());
  const auto text_of = [&dict](uint32_t at) { return dict.entries[at].key.text(); };
  const auto found = std::ranges::lower_bound(dict.by_text, key, {}, text_of);
  if (found == dict.by_text.end() || text_of(*found) != key) return nullptr;
  return &dict.entries[*found].value;
}

const Value* find(Machine& machine, const DictObject& dict, const Value& key) {
  if (key.is_string()) return find(machine, dict, key.text());
  for (const DictObject::Entry& entry : dict.entries) {
    if (!machine.step()) return nullptr;
    if (!entry.key.is_string() && equal(machine, entry.key, key)) return &entry.value;
  }
  return nullptr;
}

Value* find(Machine& machine, NamespaceObject& space, std::string_view name) {
  for (auto& [key, value] : space.attributes) {
    if (equal_text(machine, key->text.view(), name)) return &value;
  }
  machine.step(static_cast<int64_t>(space.attributes.size() / kScanMax));
  return nullptr;
}

DictMaker::DictMaker(Machine& machine, Origin made_by)
    : machine_(machine), dict_(machine.make<DictObject>()) {
  dict_->made_by = made_by;
}

Value* DictMaker::find_put(const Value& key) {
  auto& entries = dict_->entries;
  if (key.is_string() && entries.size() > kScanMax) {
    if (by_text_.empty()) {
      machine_.step(static_cast<int64_t>(entries.size()));
      for (size_t i = 0; i < entries.size(); ++i) {
        if (entries[i].key.is_string()) {
          by_text_.emplace(entries[i].key.text(), static_cast<uint32_t>(i));
        }
      }
    }
    machine_.touch(key.text().size());
    const auto found = by_text_.find(key.text());
    return found == by_text_.end() ? nullptr : &entries[found->second].value;
  }
  for (DictObject::Entry& entry : entries) {
    if (equal(machine_, entry.key, key)) return &entry.value;
  }
  return nullptr;
}

void DictMaker::put(const Value& key, const Value& value) {
  if (!hashable(machine_, key)) {
    machine_.fail(fmt::format("unhashable type: '{}'", type_name(key)));
    return;
  }
  if (Value* known = find_put(key)) {
    *known = value;
    return;
  }
  machine_.hold(sizeof(DictObject::Entry) + sizeof(uint32_t));
  if (machine_.failed()) return;
  if (key.is_string() && !by_text_.empty()) {
    by_text_.emplace(key.text(), static_cast<uint32_t>(dict_->entries.size()));
  }
  dict_->entries.push_back({key, value});
}

Value DictMaker::take() {
  const auto& entries = dict_->entries;
  if (entries.size() > kScanMax) {
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].key.is_string()) dict_->by_text.push_back(static_cast<uint32_t>(i));
    }
    std::ranges::sort(dict_->by_text, {}, [&](uint32_t at) { return entries[at].key.text(); });
  }
  return Value::of(dict_);
}

}  // namespace ration::jinja
