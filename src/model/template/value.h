// model/template/value.h - the values a template computes with: Python's, as far as Jinja shows
// them.
//
// A Value is a tag and a word, copied freely; what it points to belongs to an arena (machine.h) and
// does not change once made, except namespaces, loops, cyclers, joiners and iterators.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "model/template/machine.h"
#include "model/template/text.h"

namespace ration::jinja {

struct StringObject;
struct ListObject;
struct DictObject;
struct RangeObject;
struct IteratorObject;
struct NamespaceObject;
struct LoopObject;
struct MacroObject;
struct MethodObject;
struct CyclerObject;
struct JoinerObject;

// Why a value is undefined: what its error says when it is used.
enum class Missing : uint8_t { kVariable, kAttribute, kElement, kUnsafe, kHint };

class Value {
 public:
  enum class Kind : uint8_t {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kList,
    kTuple,
    kKeys,
    kValues,
    kItems,
    kIterator,
    kDict,
    kRange,
    kNamespace,
    kLoop,
    kMacro,
    kMethod,
    kFunction,
    kCycler,
    kJoiner
  };

  Value() = default;  // undefined, without a story
  static Value none() { return Value(Kind::kNone); }
  static Value of(bool value) { return number(Kind::kBool, value ? 1 : 0); }
  static Value of(int64_t value) { return number(Kind::kInt, value); }
  static Value of(double value);
  // Integers from INT64_MIN to UINT64_MAX; REQUIRES: in that range.
  static Value of_wide(__int128 value);
  static Value of(const StringObject* string) { return object(Kind::kString, string); }
  static Value of(const DictObject* dict) { return object(Kind::kDict, dict); }
  static Value of(const RangeObject* range) { return object(Kind::kRange, range); }
  static Value of(IteratorObject* iterator) { return object(Kind::kIterator, iterator); }
  static Value of(NamespaceObject* space) { return object(Kind::kNamespace, space); }
  static Value of(LoopObject* loop) { return object(Kind::kLoop, loop); }
  static Value of(const MacroObject* macro) { return object(Kind::kMacro, macro); }
  static Value of(const MethodObject* method) { return object(Kind::kMethod, method); }
  static Value of(CyclerObject* cycler) { return object(Kind::kCycler, cycler); }
  static Value of(JoinerObject* joiner) { return object(Kind::kJoiner, joiner); }
  static Value list(const ListObject* list) { return object(Kind::kList, list); }
  static Value tuple(const ListObject* list) { return object(Kind::kTuple, list); }
  static Value view(Kind kind, const ListObject* list) { return object(kind, list); }
  static Value function(int64_t index) { return number(Kind::kFunction, index); }
  // `name`: the variable, attribute or (kHint) the whole message; may be null. `of`: what lacked
  // it.
  static Value undefined(Missing why, const StringObject* name, Kind of = Kind::kUndefined);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_integer() const { return is(Kind::kInt) || is(Kind::kBool); }  // as Python: True is 1
  bool is_number() const { return is_integer() || is(Kind::kFloat); }
  bool is_listlike() const { return kind_ >= Kind::kList && kind_ <= Kind::kItems; }

  // REQUIRES, each: the kind it names.
  bool boolean() const { return word_.integer != 0; }
  __int128 wide() const;  // of a bool or an int
  double real() const;    // of any number
  int64_t index() const { return word_.integer; }
  const StringObject& string() const { return *get<StringObject>(); }
  std::string_view text() const;  // of a string
  const ListObject& list() const { return *get<ListObject>(); }
  const DictObject& dict() const { return *get<DictObject>(); }
  const RangeObject& range() const { return *get<RangeObject>(); }
  IteratorObject& iterator() const { return *get<IteratorObject>(); }
  NamespaceObject& space() const { return *get<NamespaceObject>(); }
  LoopObject& loop() const { return *get<LoopObject>(); }
  const MacroObject& macro() const { return *get<MacroObject>(); }
  const MethodObject& method() const { return *get<MethodObject>(); }
  CyclerObject& cycler() const { return *get<CyclerObject>(); }
  JoinerObject& joiner() const { return *get<JoinerObject>(); }

  Missing why() const { return static_cast<Missing>(detail_); }
  Kind lacked_by() const { return of_; }
  const StringObject* name() const { return static_cast<const StringObject*>(word_.object); }
  // The object, as an identity.
  const void* identity() const { return word_.object; }

 private:
  explicit Value(Kind kind) : kind_(kind) {}
  static Value number(Kind kind, int64_t integer) {
    Value value(kind);
    value.word_.integer = integer;
    return value;
  }
  static Value object(Kind kind, const void* pointer) {
    Value value(kind);
    value.word_.object = pointer;
    return value;
  }
  template <class T>
  T* get() const {
    DCHECK(word_.object != nullptr);
    // Mutable kinds are made mutable and only passed through as const.
    return static_cast<T*>(const_cast<void*>(word_.object));
  }

  Kind kind_ = Kind::kUndefined;
  uint8_t detail_ = 0;  // kInt: 1 when the word is unsigned; kUndefined: Missing
  Kind of_ = Kind::kUndefined;
  union {
    int64_t integer;
    double real;
    const void* object;
  } word_ = {.integer = 0};
};

struct StringObject : Object {
  explicit StringObject(Text value, bool is_markup = false);

  Text text;
  int64_t length = 0;   // code points; equal to the bytes exactly when all are ASCII
  bool markup = false;  // the result of `safe` or `escape`: `+` escapes what it is joined with

  bool ascii() const { return length == static_cast<int64_t>(text.size()); }
};

struct ListObject : Object {
  std::vector<Value> items;
  Origin made_by = Origin::kTemplate;  // who wrote its brackets and commas
  bool group = false;                  // a tuple (grouper, list) of groupby
};

struct DictObject : Object {
  struct Entry {
    Value key;
    Value value;
  };
  // In the order of insertion; string keys unique (DictMaker sees to it).
  std::vector<Entry> entries;
  std::vector<uint32_t> by_text;  // entries with string keys, sorted by text; empty for small ones
  Origin made_by = Origin::kTemplate;
};

struct RangeObject : Object {
  int64_t start = 0;
  int64_t step = 1;
  int64_t length = 0;
  int64_t at(int64_t index) const { return start + index * step; }
  int64_t stop = 0;
};

// A generator: every element once. What Python would raise at the first one waits in `failure`.
struct IteratorObject : Object {
  std::string failure;
  std::vector<Value> items;
  size_t next = 0;
};

struct NamespaceObject : Object {
  std::vector<std::pair<const StringObject*, Value>> attributes;
};

struct CyclerObject : Object {
  std::vector<Value> items;
  size_t position = 0;
};

struct JoinerObject : Object {
  Value separator;
  bool used = false;
};

struct MethodObject : Object {
  MethodObject(Value owner, int which) : self(owner), id(which) {}
  Value self;
  int id = 0;  // into the table of methods.cpp
};

// ---- making values

Value make_string(Machine& machine, Text text, bool markup = false);
Value make_string(Machine& machine, std::string_view bytes, Origin origin = Origin::kTemplate);
Value make_list(Machine& machine, std::vector<Value> items, Origin made_by = Origin::kTemplate);
Value make_tuple(Machine& machine, std::vector<Value> items);
Value make_iterator(Machine& machine, std::vector<Value> items);
// An iterator that fails when it is walked.
Value make_failing_iterator(Machine& machine, std::string failure);
// An undefined value with its own message.
Value undefined_hint(Machine& machine, std::string_view message);

// Collects a dict: a key given again keeps its place and takes the new value.
class DictMaker {
 public:
  explicit DictMaker(Machine& machine, Origin made_by = Origin::kTemplate);
  // Fails on keys Python cannot hash.
  void put(const Value& key, const Value& value);
  Value take();

 private:
  Value* find_put(const Value& key);

  Machine& machine_;
  DictObject* dict_;
  std::map<std::string_view, uint32_t> by_text_;  // filled once a scan would be slow
};

// ---- asking values

// What Python calls the type: "str", "dict", "NoneType" ...
std::string_view type_name(Value::Kind kind);
inline std::string_view type_name(const Value& value) { return type_name(value.kind()); }

bool truthy(const Value& value);
// The message of the error an undefined value raises.
std::string undefined_message(const Value& value);
// Fails with it and says true; false for any other value.
bool fail_if_undefined(Machine& machine, const Value& value);

bool hashable(Machine& machine, const Value& value);
bool equal(Machine& machine, const Value& a, const Value& b);
// a < b as Python orders them; fails where Python has no order.
bool less(Machine& machine, const Value& a, const Value& b);
// Python's `item in container`.
bool contains(Machine& machine, const Value& container, const Value& item);

const Value* find(Machine& machine, const DictObject& dict, const Value& key);
const Value* find(Machine& machine, const DictObject& dict, std::string_view key);
Value* find(Machine& machine, NamespaceObject& space, std::string_view name);

// len(): nothing when the value has none (no failure recorded).
std::optional<int64_t> length_of(const Value& value);
// Element `index` of a list, tuple, string or range, negative from the end; nothing when outside.
std::optional<Value> element(Machine& machine, const Value& sequence, __int128 index);
// Byte offset of code point `index`. REQUIRES: 0 <= index <= length.
size_t byte_offset(Machine& machine, const StringObject& string, int64_t index);

// Walks anything that Python's for walks.
class Cursor {
 public:
  Cursor() = default;
  // Fails when `iterable` is none; then it is at its end.
  Cursor(Machine& machine, const Value& iterable);
  static bool can_walk(const Value& value);

  bool next(Machine& machine, Value& item);

 private:
  Value source_;
  size_t position_ = 0;  // bytes of a string, else elements
};

// All elements; fails when not iterable.
std::vector<Value> elements_of(Machine& machine, const Value& iterable);

}  // namespace ration::jinja
