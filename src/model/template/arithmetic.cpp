// Python's arithmetic: integers that never wrap (they are refused when they leave 64 bits), floats,
// and the operators of strings and lists.
#include <fmt/core.h>

#include <cmath>

#include "model/template/escape.h"
#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

constexpr __int128 kIntegerMost = UINT64_MAX;
constexpr __int128 kIntegerLeast = INT64_MIN;

std::string_view symbol(Operator operation) {
  switch (operation) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    default:
      return "**";
  }
}

Value too_large(Machine& machine) {
  machine.fail("an integer does not fit in 64 bits");
  return {};
}

bool fits(__int128 value) { return value >= kIntegerLeast && value <= kIntegerMost; }

__int128 floor_divide(__int128 a, __int128 b) {
  const __int128 quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double floor_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

// Both operands fit in 65 bits, so only their product can leave 128.
Value multiply(Machine& machine, __int128 a, __int128 b) {
  const auto magnitude = [](__int128 value) { return value < 0 ? -value : value; };
  if (b != 0 && magnitude(a) > kIntegerMost / magnitude(b)) return too_large(machine);
  return checked_integer(machine, a * b);
}

Value real_power(Machine& machine, double base, double exponent) {
  if (base == 0 && exponent < 0) {
    machine.fail("0 cannot be raised to a negative power");
    return {};
  }
  const double result = std::pow(base, exponent);
  if (std::isnan(result) && !std::isnan(base) && !std::isnan(exponent)) {
    machine.fail(Code::kUnsupported, "complex numbers are not supported");
  } else if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    machine.fail("result too large");
  }
  return Value::of(result);
}

Value integer_power(Machine& machine, __int128 base, __int128 exponent) {
  if (exponent < 0) {
    return real_power(machine, static_cast<double>(base), static_cast<double>(exponent));
  }
  if (base >= -1 && base <= 1) {
    const bool odd = exponent % 2 != 0;
    return Value::of_wide(exponent == 0 ? 1 : base == -1 && !odd ? 1 : base);
  }
  if (exponent > 64) return too_large(machine);
  Value result = Value::of(int64_t{1});
  for (__int128 i = 0; i < exponent && !machine.failed(); ++i) {
    result = multiply(machine, result.wide(), base);
    if (machine.failed()) return {};
  }
  return result;
}

Value integers(Machine& machine, Operator operation, __int128 a, __int128 b) {
  const bool divides = operation == Operator::kDivide || operation == Operator::kFloorDivide ||
                       operation == Operator::kModulo;
  if (divides && b == 0) {
    machine.fail("division by zero");
    return {};
  }
  switch (operation) {
    case Operator::kAdd:
      return checked_integer(machine, a + b);
    case Operator::kSubtract:
      return checked_integer(machine, a - b);
    case Operator::kMultiply:
      return multiply(machine, a, b);
    case Operator::kDivide:
      return Value::of(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Operator::kFloorDivide:
      return checked_integer(machine, floor_divide(a, b));
    case Operator::kModulo:
      return checked_integer(machine, a - floor_divide(a, b) * b);
    default:
      return integer_power(machine, a, b);
  }
}

Value reals(Machine& machine, Operator operation, double a, double b) {
  const bool divides = operation == Operator::kDivide || operation == Operator::kFloorDivide ||
                       operation == Operator::kModulo;
  if (divides && b == 0) {
    machine.fail("division by zero");
    return {};
  }
  switch (operation) {
    case Operator::kAdd:
      return Value::of(a + b);
    case Operator::kSubtract:
      return Value::of(a - b);
    case Operator::kMultiply:
      return Value::of(a * b);
    case Operator::kDivide:
      return Value::of(a / b);
    case Operator::kFloorDivide:
      return Value::of(std::floor((a - floor_modulo(a, b)) / b + 0.5));
    case Operator::kModulo:
      return Value::of(floor_modulo(a, b));
    default:
      return real_power(machine, a, b);
  }
}

// A safe string escapes what is added to it.
Value add_strings(Machine& machine, const Value& a, const Value& b) {
  const bool markup = a.string().markup || b.string().markup;
  Builder out(machine);
  for (const Value* part : {&a, &b}) {
    if (markup && !part->string().markup) {
      add_html(out, part->string().text);
    } else {
      out.add(part->string().text);
    }
  }
  return make_string(machine, out.take(), markup);
}

Value add_lists(Machine& machine, const Value& a, const Value& b) {
  std::vector<Value> items = elements_of(machine, a);
  const std::vector<Value> more = elements_of(machine, b);
  items.insert(items.end(), more.begin(), more.end());
  if (a.is(Kind::kTuple)) return make_tuple(machine, std::move(items));
  const Origin origin = a.list().made_by == b.list().made_by ? a.list().made_by : Origin::kTemplate;
  return make_list(machine, std::move(items), origin);
}

Value repeat(Machine& machine, const Value& what, __int128 times) {
  const int64_t length =
      what.is_string() ? static_cast<int64_t>(what.text().size()) : length_of(what).value_or(0);
  if (times < 0 || length == 0) times = 0;
  const int64_t most = machine.limits().output_bytes_max;
  if (times > 0 && times > most / length) {
    machine.refuse("bytes of text",
                   times > INT64_MAX / length ? INT64_MAX : static_cast<int64_t>(times) * length,
                   most);
    return {};
  }
  if (what.is_string()) {
    Builder out(machine);
    out.add_repeated(what.string().text, static_cast<int64_t>(times));
    return make_string(machine, out.take(), what.string().markup);
  }
  if (!machine.step(static_cast<int64_t>(times) * length)) return {};
  std::vector<Value> items;
  const std::vector<Value>& once = what.list().items;
  for (; times > 0; --times) {
    items.insert(items.end(), once.begin(), once.end());
  }
  return what.is(Kind::kTuple) ? make_tuple(machine, std::move(items))
                               : make_list(machine, std::move(items), what.list().made_by);
}

bool is_repeatable(const Value& value) {
  return value.is_string() || value.is(Kind::kList) || value.is(Kind::kTuple);
}

}  // namespace

Value checked_integer(Machine& machine, __int128 value) {
  return fits(value) ? Value::of_wide(value) : too_large(machine);
}

Value truncated(Machine& machine, double value) {
  if (!std::isfinite(value)) {
    machine.fail("cannot convert a float without a finite value to an integer");
    return {};
  }
  if (value >= 18446744073709551616.0 || value < -9223372036854775808.0) return too_large(machine);
  return Value::of_wide(static_cast<__int128>(std::trunc(value)));
}

Value negated(Machine& machine, const Value& value) {
  if (fail_if_undefined(machine, value)) return {};
  if (value.is_integer()) return checked_integer(machine, -value.wide());
  if (value.is_number()) return Value::of(-value.real());
  machine.fail(fmt::format("bad operand type for unary -: '{}'", type_name(value)));
  return {};
}

Value positive(Machine& machine, const Value& value) {
  if (fail_if_undefined(machine, value)) return {};
  if (value.is_integer()) return checked_integer(machine, value.wide());
  if (value.is_number()) return value;
  machine.fail(fmt::format("bad operand type for unary +: '{}'", type_name(value)));
  return {};
}

Value arithmetic(Renderer& renderer, Operator operation, const Value& a, const Value& b) {
  Machine& machine = renderer.machine();
  if (machine.failed()) return {};
  if (operation == Operator::kModulo && a.is_string()) {
    return format_percent(renderer, a.string(), b);
  }
  if (fail_if_undefined(machine, a) || fail_if_undefined(machine, b)) return {};
  if (a.is_integer() && b.is_integer()) return integers(machine, operation, a.wide(), b.wide());
  if (a.is_number() && b.is_number()) return reals(machine, operation, a.real(), b.real());
  if (operation == Operator::kAdd && a.kind() == b.kind()) {
    if (a.is_string()) return add_strings(machine, a, b);
    if (a.is(Kind::kList) || a.is(Kind::kTuple)) return add_lists(machine, a, b);
  }
  if (operation == Operator::kMultiply) {
    if (is_repeatable(a) && b.is_integer()) return repeat(machine, a, b.wide());
    if (is_repeatable(b) && a.is_integer()) return repeat(machine, b, a.wide());
  }
  machine.fail(fmt::format("unsupported operand types for {}: '{}' and '{}'", symbol(operation),
                           type_name(a), type_name(b)));
  return {};
}

}  // namespace ration::jinja
