#include "model/template/value.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace ration::jinja {

using Kind = Value::Kind;

Value Value::of(double value) {
  Value result(Kind::kFloat);
  result.word_.real = value;
  return result;
}

Value Value::of_wide(__int128 value) {
  DCHECK(value >= INT64_MIN && value <= static_cast<__int128>(UINT64_MAX));
  Value result = number(Kind::kInt, static_cast<int64_t>(value));
  if (value > INT64_MAX) result.detail_ = 1;
  return result;
}

Value Value::undefined(Missing why, const StringObject* name, Kind of) {
  Value value;
  value.detail_ = static_cast<uint8_t>(why);
  value.of_ = of;
  value.word_.object = name;
  return value;
}

__int128 Value::wide() const {
  DCHECK(is_integer());
  return detail_ == 1 ? static_cast<__int128>(static_cast<uint64_t>(word_.integer))
                      : static_cast<__int128>(word_.integer);
}

double Value::real() const { return is(Kind::kFloat) ? word_.real : static_cast<double>(wide()); }

std::string_view Value::text() const { return string().text.view(); }

StringObject::StringObject(Text value, bool is_markup) : text(std::move(value)), markup(is_markup) {
  for (const char c : text.view()) length += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

Value make_string(Machine& machine, Text text, bool markup) {
  machine.touch(text.size());
  machine.hold_flips(text.flips());
  return Value::of(machine.make<StringObject>(std::move(text), markup));
}

Value make_string(Machine& machine, std::string_view bytes, Origin origin) {
  if (!machine.may_hold_text(static_cast<int64_t>(bytes.size()))) bytes = {};
  machine.hold(bytes.size());
  return make_string(machine, Text(std::string(bytes), origin));
}

namespace {

ListObject* make_items(Machine& machine, std::vector<Value> items) {
  machine.hold(items.size() * sizeof(Value));
  auto* list = machine.make<ListObject>();
  list->items = std::move(items);
  return list;
}

}  // namespace

Value make_list(Machine& machine, std::vector<Value> items, Origin made_by) {
  ListObject* list = make_items(machine, std::move(items));
  list->made_by = made_by;
  return Value::list(list);
}

Value make_tuple(Machine& machine, std::vector<Value> items) {
  return Value::tuple(make_items(machine, std::move(items)));
}

Value make_iterator(Machine& machine, std::vector<Value> items) {
  machine.hold(items.size() * sizeof(Value));
  auto* iterator = machine.make<IteratorObject>();
  iterator->items = std::move(items);
  return Value::of(iterator);
}

Value make_failing_iterator(Machine& machine, std::string failure) {
  auto* iterator = machine.make<IteratorObject>();
  iterator->failure = std::move(failure);
  return Value::of(iterator);
}

Value undefined_hint(Machine& machine, std::string_view message) {
  return Value::undefined(Missing::kHint, &make_string(machine, message).string());
}

std::string_view type_name(Kind kind) {
  switch (kind) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kKeys:
      return "dict_keys";
    case Kind::kValues:
      return "dict_values";
    case Kind::kItems:
      return "dict_items";
    case Kind::kIterator:
      return "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kMacro:
      return "Macro";
    case Kind::kMethod:
      return "builtin_function_or_method";
    case Kind::kFunction:
      return "function";
    case Kind::kCycler:
      return "Cycler";
    case Kind::kJoiner:
      return "Joiner";
  }
  return "object";
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.wide() != 0;
    case Kind::kFloat:
      return value.real() != 0.0;
    default:
      break;
  }
  const std::optional<int64_t> length = length_of(value);
  return !length || *length > 0;
}

std::string undefined_message(const Value& value) {
  const std::string_view name = value.name() ? value.name()->text.view() : "value";
  const std::string_view type = type_name(value.lacked_by());
  switch (value.why()) {
    case Missing::kVariable:
      return fmt::format("'{}' is undefined", name);
    case Missing::kAttribute:
      return fmt::format("'{} object' has no attribute '{}'", type, name);
    case Missing::kElement:
      return fmt::format("{} object has no such element", type);
    case Missing::kUnsafe:
      return fmt::format("access to attribute '{}' of '{}' object is unsafe", name, type);
    case Missing::kHint:
      return std::string(name);
  }
  return "undefined value";
}

bool fail_if_undefined(Machine& machine, const Value& value) {
  if (!value.is_undefined()) return false;
  machine.fail(undefined_message(value));
  return true;
}

std::optional<int64_t> length_of(const Value& value) {
  if (value.is_listlike()) return static_cast<int64_t>(value.list().items.size());
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return value.string().length;
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Kind::kRange:
      return value.range().length;
    default:
      return std::nullopt;
  }
}

size_t byte_offset(Machine& machine, const StringObject& string, int64_t index) {
  DCHECK(index >= 0 && index <= string.length);
  if (string.ascii()) return static_cast<size_t>(index);
  const std::string_view text = string.text.view();
  size_t offset = 0;
  for (; index > 0; --index) {
    ++offset;
    while (offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xc0) == 0x80) {
      ++offset;
    }
  }
  machine.touch(4 * offset);
  return offset;
}

std::optional<Value> element(Machine& machine, const Value& sequence, __int128 index) {
  const int64_t length = length_of(sequence).value_or(0);
  if (index < 0) index += length;
  if (index < 0 || index >= length) return std::nullopt;
  const auto at = static_cast<int64_t>(index);
  if (sequence.is(Kind::kRange)) return Value::of(sequence.range().at(at));
  if (sequence.is_listlike()) return sequence.list().items[static_cast<size_t>(at)];
  const StringObject& string = sequence.string();
  const size_t begin = byte_offset(machine, string, at);
  const auto size = static_cast<size_t>(read_code_point(string.text.view().substr(begin)).length);
  return make_string(machine, string.text.slice(begin, begin + size), string.markup);
}

bool Cursor::can_walk(const Value& value) {
  return value.is(Kind::kIterator) || value.is(Kind::kLoop) || length_of(value).has_value();
}

Cursor::Cursor(Machine& machine, const Value& iterable) : source_(iterable) {
  if (can_walk(iterable) && !iterable.is(Kind::kLoop)) return;
  source_ = Value();
  machine.fail(fmt::format("'{}' object is not iterable", type_name(iterable)));
}

bool Cursor::next(Machine& machine, Value& item) {
  if (!machine.step()) return false;
  if (source_.is_listlike()) {
    const std::vector<Value>& items = source_.list().items;
    if (position_ >= items.size()) return false;
    item = items[position_++];
    return true;
  }
  switch (source_.kind()) {
    case Kind::kString: {
      const StringObject& string = source_.string();
      if (position_ >= string.text.size()) return false;
      const std::string_view rest = string.text.view().substr(position_);
      const size_t end = position_ + static_cast<size_t>(read_code_point(rest).length);
      item = make_string(machine, string.text.slice(position_, end));
      position_ = end;
      return true;
    }
    case Kind::kDict: {
      const auto& entries = source_.dict().entries;
      if (position_ >= entries.size()) return false;
      item = entries[position_++].key;
      return true;
    }
    case Kind::kRange:
      if (static_cast<int64_t>(position_) >= source_.range().length) return false;
      item = Value::of(source_.range().at(static_cast<int64_t>(position_++)));
      return true;
    case Kind::kIterator: {
      IteratorObject& iterator = source_.iterator();
      if (!iterator.failure.empty()) machine.fail(iterator.failure);
      if (iterator.next >= iterator.items.size()) return false;
      item = iterator.items[iterator.next++];
      return true;
    }
    default:
      return false;
  }
}

std::vector<Value> elements_of(Machine& machine, const Value& iterable) {
  if (iterable.is_listlike()) {
    machine.step(static_cast<int64_t>(iterable.list().items.size()));
    return machine.failed() ? std::vector<Value>{} : iterable.list().items;
  }
  std::vector<Value> items;
  Cursor cursor(machine, iterable);
  for (Value item; cursor.next(machine, item);) items.push_back(item);
  return items;
}

}  // namespace ration::jinja
