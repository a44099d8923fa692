// The table of tests (x is NAME). To add one: write its function, add its row.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "model/template/operations.h"
#include "model/template/render.h"
#include "model/template/strings.h"
#include "model/template/tables.h"
#include "model/template/unicode.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

bool is_callable(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:  // jinja2's Undefined has a __call__, which raises
    case Kind::kMacro:
    case Kind::kMethod:
    case Kind::kFunction:
    case Kind::kLoop:
    case Kind::kJoiner:
      return true;
    default:
      return false;
  }
}

bool is_sequence(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
      return true;
    default:
      return false;
  }
}

// All letters of one case, and at least one.
bool has_case(Machine& machine, const Value& value, bool upper_case) {
  const Value text = to_str(machine, value);
  if (machine.failed()) return false;
  std::string_view rest = text.text();
  machine.read(rest.size());
  bool found = false;
  while (!rest.empty()) {
    const CodePoint point = read_code_point(rest);
    if (is_cased(point.value)) {
      if (upper_case ? !is_upper(point.value) : !is_lower(point.value)) return false;
      found = true;
    }
    rest.remove_prefix(static_cast<size_t>(point.length));
  }
  return found;
}

// value % by == rest.
bool has_remainder(Renderer& renderer, const Value& value, const Value& by, int64_t rest) {
  const Value found = arithmetic(renderer, Operator::kModulo, value, by);
  return !renderer.machine().failed() && equal(renderer.machine(), found, Value::of(rest));
}

// Python's `is`, as far as it can be told from outside: small integers and strings are shared.
bool is_same(Machine& machine, const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is_number() || a.is_none() || a.is_string()) return equal(machine, a, b);
  return a.identity() == b.identity();
}

struct Subject {
  Renderer& renderer;
  Machine& machine;
  const Value& value;
  const Value& other;  // the argument, where there is one
};

struct Row {
  std::string_view name;
  size_t arguments;
  bool (*holds)(const Subject& subject);
};

bool test_equal(const Subject& s) { return equal(s.machine, s.value, s.other); }
bool test_unequal(const Subject& s) { return !equal(s.machine, s.value, s.other); }
bool test_less(const Subject& s) { return less(s.machine, s.value, s.other); }
bool test_greater(const Subject& s) { return less(s.machine, s.other, s.value); }
bool test_less_equal(const Subject& s) { return test_less(s) || test_equal(s); }
bool test_greater_equal(const Subject& s) { return test_greater(s) || test_equal(s); }

bool test_name(const Subject& s, int (*find)(std::string_view)) {
  return s.value.is_string() && find(s.value.text()) >= 0;
}

constexpr std::array kTests{
    Row{"!=", 1, test_unequal},
    Row{"<", 1, test_less},
    Row{"<=", 1, test_less_equal},
    Row{"==", 1, test_equal},
    Row{">", 1, test_greater},
    Row{">=", 1, test_greater_equal},
    Row{"boolean", 0, [](const Subject& s) { return s.value.is(Kind::kBool); }},
    Row{"callable", 0, [](const Subject& s) { return is_callable(s.value); }},
    Row{"defined", 0, [](const Subject& s) { return !s.value.is_undefined(); }},
    Row{"divisibleby", 1,
        [](const Subject& s) { return has_remainder(s.renderer, s.value, s.other, 0); }},
    Row{"eq", 1, test_equal},
    Row{"equalto", 1, test_equal},
    Row{"escaped", 0,
        [](const Subject& s) { return s.value.is_string() && s.value.string().markup; }},
    Row{"even", 0,
        [](const Subject& s) {
          return has_remainder(s.renderer, s.value, Value::of(int64_t{2}), 0);
        }},
    Row{"false", 0, [](const Subject& s) { return s.value.is(Kind::kBool) && !s.value.boolean(); }},
    Row{"filter", 0, [](const Subject& s) { return test_name(s, find_filter); }},
    Row{"float", 0, [](const Subject& s) { return s.value.is(Kind::kFloat); }},
    Row{"ge", 1, test_greater_equal},
    Row{"greaterthan", 1, test_greater},
    Row{"gt", 1, test_greater},
    Row{"in", 1, [](const Subject& s) { return contains(s.machine, s.other, s.value); }},
    Row{"integer", 0, [](const Subject& s) { return s.value.is(Kind::kInt); }},
    Row{"iterable", 0, [](const Subject& s) { return Cursor::can_walk(s.value); }},
    Row{"le", 1, test_less_equal},
    Row{"lessthan", 1, test_less},
    Row{"lower", 0, [](const Subject& s) { return has_case(s.machine, s.value, false); }},
    Row{"lt", 1, test_less},
    Row{"mapping", 0, [](const Subject& s) { return s.value.is(Kind::kDict); }},
    Row{"ne", 1, test_unequal},
    Row{"none", 0, [](const Subject& s) { return s.value.is_none(); }},
    Row{"number", 0, [](const Subject& s) { return s.value.is_number(); }},
    Row{"odd", 0,
        [](const Subject& s) {
          return has_remainder(s.renderer, s.value, Value::of(int64_t{2}), 1);
        }},
    Row{"sameas", 1, [](const Subject& s) { return is_same(s.machine, s.value, s.other); }},
    Row{"sequence", 0, [](const Subject& s) { return is_sequence(s.value); }},
    Row{"string", 0, [](const Subject& s) { return s.value.is_string(); }},
    Row{"test", 0, [](const Subject& s) { return test_name(s, find_test); }},
    Row{"true", 0, [](const Subject& s) { return s.value.is(Kind::kBool) && s.value.boolean(); }},
    Row{"undefined", 0, [](const Subject& s) { return s.value.is_undefined(); }},
    Row{"upper", 0, [](const Subject& s) { return has_case(s.machine, s.value, true); }},
};

}  // namespace

int find_test(std::string_view name) {
  const auto found = std::ranges::find(kTests, name, &Row::name);
  return found == kTests.end() ? -1 : static_cast<int>(found - kTests.begin());
}

bool apply_test(Renderer& renderer, int row, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Row& test = kTests[static_cast<size_t>(row)];
  if (!machine.step()) return false;
  // Keyword arguments of tests have names that nobody uses; in order they are the same.
  for (const auto& [name, value] : arguments.keywords) arguments.positional.push_back(value);
  if (arguments.positional.size() != test.arguments) {
    machine.fail(fmt::format("test '{}': found {} arguments, wanted {}", test.name,
                             arguments.positional.size(), test.arguments));
    return false;
  }
  const Value nothing;
  return test.holds(
      {renderer, machine, input, test.arguments > 0 ? arguments.positional[0] : nothing});
}

}  // namespace ration::jinja
