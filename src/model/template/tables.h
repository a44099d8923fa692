// model/template/tables.h - the filters, tests, methods and functions a template can name. Each
// kind has one table in its .cpp; to add one, write the function and its row.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "model/template/value.h"

namespace ration::jinja {

class Renderer;

// Evaluated arguments of a call.
struct CallArguments {
  std::vector<Value> positional;
  struct Keyword {
    const StringObject* name;  // after ** it may be a user's
    Value value;
    std::string_view text() const { return name->text.view(); }
  };
  std::vector<Keyword> keywords;

  // The value of a keyword, taken out; undefined and false when it is not there.
  bool take_keyword(std::string_view name, Value& value);
};

// Rows of the tables; -1 when there is no such name.
int find_filter(std::string_view name);
int find_test(std::string_view name);
int find_function(std::string_view name);
// A filter of Jinja's that we refuse (random, urlize ...).
bool unsupported_filter(std::string_view name);

// REQUIRES: a row of the table.
Value apply_filter(Renderer& renderer, int row, const Value& input, CallArguments& arguments);
bool apply_test(Renderer& renderer, int row, const Value& input, CallArguments& arguments);
Value call_function(Renderer& renderer, int row, CallArguments& arguments);

// A bound method `name` of `self`, undefined when Python would say so (also for what changes its
// object: the sandbox forbids it), nothing when the type has no such attribute.
std::optional<Value> find_method(Renderer& renderer, const Value& self, const StringObject& name);
Value call_method(Renderer& renderer, const MethodObject& method, CallArguments& arguments);

// Binds arguments to parameters as Python does; fails on unknown, repeated, missing or too many.
class Bound {
 public:
  // `names`: at most kMax, the first `required` of them without a default.
  Bound(Machine& machine, std::string_view callee, const CallArguments& arguments,
        std::initializer_list<std::string_view> names, size_t required = 0);

  bool has(size_t index) const { return given_[index]; }
  // REQUIRES: has(index), or a failed machine.
  const Value& operator[](size_t index) const { return values_[index]; }
  Value or_else(size_t index, const Value& otherwise) const {
    return has(index) ? values_[index] : otherwise;
  }
  bool flag(size_t index, bool otherwise) const {
    return has(index) ? truthy(values_[index]) : otherwise;
  }
  // An integer (True is 1) within +-2^62; fails on other types.
  int64_t integer(size_t index, int64_t otherwise) const;
  // A string; fails on other types. Null when not given or none.
  const StringObject* string(size_t index) const;

 private:
  static constexpr size_t kMax = 6;
  Machine& machine_;
  std::string_view callee_;
  Value values_[kMax];
  bool given_[kMax] = {};
};

}  // namespace ration::jinja
