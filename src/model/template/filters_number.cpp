// Filters that make numbers.
#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "model/template/filters.h"
#include "model/template/operations.h"
#include "model/template/render.h"
#include "model/template/unicode.h"

namespace ration::jinja {

namespace {

std::string_view without_space(std::string_view text) {
  text.remove_prefix(leading_space(text));
  text.remove_suffix(trailing_space(text));
  return text;
}

// Python allows single underscores between digits. Nothing when they are elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string digits;
  const auto is_word = [&](size_t i) {
    return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])) != 0;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      digits += text[i];
    } else if (i == 0 || !is_word(i - 1) || !is_word(i + 1)) {
      return std::nullopt;
    }
  }
  return digits;
}

int prefix_base(std::string_view digits) {
  if (digits.size() < 2 || digits[0] != '0') return 10;
  switch (digits[1] | 0x20) {
    case 'x':
      return 16;
    case 'o':
      return 8;
    case 'b':
      return 2;
    default:
      return 10;
  }
}

}  // namespace

std::optional<Value> parse_integer(Machine& machine, std::string_view text, int base) {
  machine.touch(text.size());
  std::string_view rest = without_space(text);
  const bool negative = rest.starts_with('-');
  if (negative || rest.starts_with('+')) rest.remove_prefix(1);
  const int prefixed = prefix_base(rest);
  if (prefixed != 10 && (base == 0 || base == prefixed)) {
    rest.remove_prefix(2);
    if (rest.starts_with('_')) rest.remove_prefix(1);
    base = prefixed;
  } else if (base == 0) {
    base = 10;
  }
  const std::optional<std::string> digits = without_underscores(rest);
  if (!digits || digits->empty()) return std::nullopt;
  uint64_t magnitude = 0;
  const char* end = digits->data() + digits->size();
  const auto [stop, error] = std::from_chars(digits->data(), end, magnitude, base);
  if (stop != end || error == std::errc::invalid_argument) return std::nullopt;
  const __int128 value =
      negative ? -static_cast<__int128>(magnitude) : static_cast<__int128>(magnitude);
  if (error != std::errc()) machine.fail("an integer does not fit in 64 bits");
  return machine.failed() ? Value() : checked_integer(machine, value);
}

std::optional<double> parse_float(std::string_view text) {
  const std::optional<std::string> digits = without_underscores(without_space(text));
  if (!digits || digits->empty()) return std::nullopt;
  const char* begin = digits->c_str();
  const size_t sign = *begin == '+' || *begin == '-' ? 1 : 0;
  // strtod also reads hexadecimal and nan(...), which Python does not.
  if (digits->find_first_of("xX(", sign) != std::string::npos) return std::nullopt;
  if (std::isspace(static_cast<unsigned char>(begin[sign])) != 0) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(begin, &end);
  if (end != begin + digits->size()) return std::nullopt;
  return value;
}

Value filter_abs(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "abs", arguments, {});
  if (input.is_integer()) {
    const __int128 value = input.wide();
    return checked_integer(machine, value < 0 ? -value : value);
  }
  if (input.is_number()) return Value::of(std::fabs(input.real()));
  if (!fail_if_undefined(machine, input)) machine.fail("abs: wanted a number");
  return {};
}

Value filter_int(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "int", arguments, {"default", "base"});
  const Value otherwise = bound.or_else(0, Value::of(int64_t{0}));
  const int64_t base = bound.integer(1, 10);
  if (machine.failed() || fail_if_undefined(machine, input)) return {};
  if (input.is_integer()) return checked_integer(machine, input.wide());
  if (input.is_number()) {
    return std::isnan(input.real()) ? otherwise : truncated(machine, input.real());
  }
  if (!input.is_string()) return otherwise;
  if (base == 0 || (base >= 2 && base <= 36)) {
    const std::optional<Value> value = parse_integer(machine, input.text(), static_cast<int>(base));
    if (value) return *value;
  }
  const std::optional<double> real = parse_float(input.text());
  return real && std::isfinite(*real) ? truncated(machine, *real) : otherwise;
}

Value filter_float(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "float", arguments, {"default"});
  const Value otherwise = bound.or_else(0, Value::of(0.0));
  if (machine.failed() || fail_if_undefined(machine, input)) return {};
  if (input.is_number()) return Value::of(input.real());
  if (!input.is_string()) return otherwise;
  const std::optional<double> real = parse_float(input.text());
  return real ? Value::of(*real) : otherwise;
}

namespace {

// round() to a number of decimals: the nearest decimal, ties to even as the exact binary value has
// it.
double rounded(double value, int64_t decimals) {
  if (!std::isfinite(value) || decimals > 300) return value;
  if (decimals >= 0) {
    return std::strtod(fmt::format("{:.{}f}", value, static_cast<int>(decimals)).c_str(), nullptr);
  }
  if (decimals < -310) return std::copysign(0.0, value);
  const double scale = std::pow(10.0, static_cast<double>(-decimals));
  return std::nearbyint(value / scale) * scale;
}

}  // namespace

Value filter_round(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "round", arguments, {"precision", "method"});
  const int64_t decimals = bound.integer(0, 0);
  const StringObject* method = bound.string(1);
  if (machine.failed() || fail_if_undefined(machine, input)) return {};
  const std::string_view how = method ? method->text.view() : "common";
  if (!input.is_number() || (how != "common" && how != "ceil" && how != "floor")) {
    machine.fail("round: wanted a number, and common, ceil or floor");
    return {};
  }
  if (how == "common" && input.is_integer() && decimals >= 0) {
    return checked_integer(machine, input.wide());
  }
  if (how == "common") {
    const double result = rounded(input.real(), decimals);
    return input.is_integer() ? truncated(machine, result) : Value::of(result);
  }
  const double scale = std::pow(10.0, static_cast<double>(decimals));
  const double scaled = input.real() * scale;
  if (!std::isfinite(scaled) || scale == 0) {
    machine.fail("round: the number is too large");
    return {};
  }
  return Value::of((how == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value filter_sum(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "sum", arguments, {"attribute", "start"});
  const AttributePath path(machine, bound.or_else(0, Value::none()));
  Value total = bound.or_else(1, Value::of(int64_t{0}));
  if (total.is_string()) machine.fail("sum: cannot add strings, use join");
  Cursor cursor(machine, input);
  for (Value item; cursor.next(machine, item) && !machine.failed();) {
    total = arithmetic(renderer, Operator::kAdd, total, path.follow(renderer, item));
  }
  return total;
}

}  // namespace ration::jinja
