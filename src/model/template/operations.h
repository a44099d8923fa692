// model/template/operations.h - what Python's operators, str() and json.dumps() do with values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/template/machine.h"
#include "model/template/syntax.h"
#include "model/template/tables.h"
#include "model/template/value.h"

namespace ration::jinja {

// a + b ... a ** b (the arithmetic operators only).
Value arithmetic(Renderer& renderer, Operator operation, const Value& a, const Value& b);
// -a, +a.
Value negated(Machine& machine, const Value& value);
Value positive(Machine& machine, const Value& value);
// An integer result, refused when it does not fit.
Value checked_integer(Machine& machine, __int128 value);
// A float's integer part; fails on nan and infinities.
Value truncated(Machine& machine, double value);

// x[start:stop:step]; a part not given is none.
Value slice(Machine& machine, const Value& of, const Value& start, const Value& stop,
            const Value& step);

// str(value), repr(value).
void add_str(Builder& out, Machine& machine, const Value& value);
void add_repr(Builder& out, Machine& machine, const Value& value);
// str(value) as a value: a string stays the string it is.
Value to_str(Machine& machine, const Value& value);
// str(value) without its marking as safe.
Value to_plain_str(Machine& machine, const Value& value);
// escape(value): HTML entities, marked safe; a safe string stays as it is.
Value escaped(Machine& machine, const Value& value);

struct JsonStyle {
  bool ascii_only = false;
  std::optional<std::string> indent;
  std::string between_items = ", ";
  std::string after_key = ": ";
  Origin author = Origin::kTemplate;  // of these texts
  bool sort_keys = false;
};
void add_json(Builder& out, Machine& machine, const Value& value, const JsonStyle& style);

// format % values, and format.format(...). The pieces keep their authors.
Value format_percent(Renderer& renderer, const StringObject& format, const Value& values);
Value format_braces(Renderer& renderer, const StringObject& format, CallArguments& arguments);

// Python's int(text, base) and float(text); nothing when it would raise.
std::optional<Value> parse_integer(Machine& machine, std::string_view text, int base);
std::optional<double> parse_float(std::string_view text);

}  // namespace ration::jinja
