#include "model/template/format_spec.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>

#include "base/text.h"
#include "model/template/escape.h"
#include "model/template/operations.h"
#include "model/template/strings.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

constexpr int64_t kPrecisionMax = 1000;

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

// Digits at `at`, moving it; fails beyond what a text may hold.
int64_t read_number(Machine& machine, std::string_view text, size_t& at) {
  int64_t number = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    number = number * 10 + (text[at++] - '0');
    if (!machine.may_hold_text(number)) return 0;
  }
  return number;
}

std::string grouped(const std::string& digits, char separator, size_t group) {
  if (separator == '\0') return digits;
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % group == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string integer_digits(unsigned __int128 magnitude, char type) {
  const unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const std::string_view letters = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string digits;
  do {
    digits += letters[static_cast<size_t>(magnitude % base)];
    magnitude /= base;
  } while (magnitude > 0);
  return {digits.rbegin(), digits.rend()};
}

std::string prefix_of(char type) {
  return type == 'x' || type == 'X' || type == 'o' || type == 'b' ? std::string("0") + type : "";
}

std::string real_digits(double magnitude, const FormatSpec& spec) {
  const int precision = static_cast<int>(spec.precision < 0 ? 6 : spec.precision);
  switch (spec.type) {
    case 'e':
      return fmt::format("{:.{}e}", magnitude, precision);
    case 'E':
      return fmt::format("{:.{}E}", magnitude, precision);
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", magnitude, precision);
    case 'g':
      return fmt::format("{:.{}g}", magnitude, std::max(precision, 1));
    case 'G':
      return fmt::format("{:.{}G}", magnitude, std::max(precision, 1));
    case '%':
      return fmt::format("{:.{}f}%", magnitude * 100, precision);
    default:
      break;
  }
  if (spec.precision < 0) return repr_float(magnitude);
  // Without a type: like g, but with an exponent as soon as no digit would follow the point.
  const int digits_max = std::max(precision, 1);
  std::string scientific = fmt::format("{:.{}e}", magnitude, digits_max - 1);
  const size_t e = scientific.find('e');
  if (!std::isfinite(magnitude)) return scientific;
  const int exponent = std::atoi(scientific.c_str() + e + 1);
  if (exponent >= -4 && exponent < digits_max - 1) {
    const std::string digits = fmt::format("{:.{}g}", magnitude, digits_max);
    return digits.find('.') == std::string::npos ? digits + ".0" : digits;
  }
  size_t mantissa = scientific.substr(0, e).find_last_not_of('0') + 1;
  if (scientific.find('.') == std::string::npos) mantissa = e;
  if (scientific[mantissa - 1] == '.') --mantissa;
  return scientific.erase(mantissa, e - mantissa);
}

// The sign, the prefix and the digits, padded: with '=' between sign and digits.
void add_number(Builder& out, Machine& machine, bool negative, std::string prefix,
                const std::string& digits, const FormatSpec& spec) {
  std::string sign = negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  sign += prefix;
  if (spec.align != '=') {
    const Text number(sign + digits, Origin::kTemplate);
    return add_aligned(out, machine, number, spec, '>');
  }
  out.add(sign, Origin::kTemplate);
  const auto used = static_cast<int64_t>(sign.size() + digits.size());
  out.add_repeated(spec.fill, spec.width - used);
  out.add(digits, Origin::kTemplate);
}

void add_integer(Builder& out, Machine& machine, const Value& value, const FormatSpec& spec) {
  const __int128 number = value.wide();
  if (spec.precision >= 0) return machine.fail("precision is not allowed for integers");
  const auto magnitude = static_cast<unsigned __int128>(number < 0 ? -number : number);
  const bool decimal = spec.type == '\0' || spec.type == 'd';
  std::string digits = integer_digits(magnitude, spec.type);
  digits = grouped(digits, spec.grouping, decimal ? 3 : 4);
  add_number(out, machine, number < 0, spec.alternate ? prefix_of(spec.type) : "", digits, spec);
}

void add_real(Builder& out, Machine& machine, double number, const FormatSpec& spec) {
  if (spec.alternate) {
    return machine.fail(Code::kUnsupported, "the alternate form of floats is not supported");
  }
  std::string digits = real_digits(std::fabs(number), spec);
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  digits = grouped(digits.substr(0, whole), spec.grouping, 3) + digits.substr(whole);
  add_number(out, machine, std::signbit(number) && !std::isnan(number), "", digits, spec);
}

void add_text(Builder& out, Machine& machine, const StringObject& string, const FormatSpec& spec) {
  if (spec.align == '=' || spec.sign != '-' || spec.alternate || spec.grouping != '\0') {
    return machine.fail("the format is not allowed for strings");
  }
  const bool cut = spec.precision >= 0 && spec.precision < string.length;
  const size_t end = cut ? byte_offset(machine, string, spec.precision) : string.text.size();
  add_aligned(out, machine, string.text.slice(0, end), spec, '<');
}

}  // namespace

FormatSpec parse_format_spec(Machine& machine, const Text& text) {
  FormatSpec spec;
  const std::string_view view = text.view();
  size_t at = 0;
  const size_t first = view.empty() ? 0 : static_cast<size_t>(read_code_point(view).length);
  const auto skip = [&](std::string_view set) {
    const bool found = at < view.size() && set.find(view[at]) != std::string_view::npos;
    return found ? view[at++] : '\0';
  };
  if (first < view.size() && is_align(view[first])) {
    spec.fill = text.slice(0, first);
    spec.align = view[first];
    at = first + 1;
  } else {
    spec.align = skip("<>^=");
  }
  if (const char sign = skip("+- ")) spec.sign = sign;
  spec.alternate = skip("#") != '\0';
  if (skip("0") != '\0' && spec.align == '\0') {
    spec.align = '=';
    spec.fill = Text("0", Origin::kTemplate);
  }
  spec.width = read_number(machine, view, at);
  spec.grouping = skip(",_");
  if (skip(".") != '\0') {
    spec.precision = read_number(machine, view, at);
    if (spec.precision > kPrecisionMax) machine.refuse("digits", spec.precision, kPrecisionMax);
  }
  spec.type = skip("bcdeEfFgGnosxX%");
  if (at != view.size()) machine.fail(fmt::format("invalid format '{:.40}'", view));
  return spec;
}

void add_aligned(Builder& out, Machine& machine, const Text& text, const FormatSpec& spec,
                 char default_align) {
  const StringObject string(text);
  const int64_t missing = std::max<int64_t>(0, spec.width - string.length);
  if (!machine.may_hold_text(missing)) return;
  const char align = spec.align == '\0' ? default_align : spec.align;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  out.add_repeated(spec.fill, left);
  out.add(text);
  out.add_repeated(spec.fill, missing - left);
}

void add_formatted(Builder& out, Machine& machine, const Value& value, const FormatSpec& spec) {
  if (machine.failed()) return;
  const std::string_view integer_types = "bdoxX", real_types = "eEfFgG%";
  const auto is_type = [&](std::string_view set) {
    return set.find(spec.type) != std::string_view::npos;
  };
  if (value.is_string() && (spec.type == '\0' || spec.type == 's')) {
    return add_text(out, machine, value.string(), spec);
  }
  if (value.is_integer() && (spec.type == '\0' || is_type(integer_types))) {
    return add_integer(out, machine, value, spec);
  }
  if (value.is_number() && (is_type(real_types) || (spec.type == '\0' && !value.is_integer()))) {
    return add_real(out, machine, value.real(), spec);
  }
  const bool known = value.is_number() || value.is_string();
  machine.fail(
      known && (spec.type == 'n' || spec.type == 'c') ? Code::kUnsupported : Code::kInvalid,
      fmt::format("the format type '{}' is not allowed for {}", spec.type, type_name(value)));
}

}  // namespace ration::jinja
