#include "model/template/escape.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>

#include "base/text.h"
#include "model/template/unicode.h"

namespace ration::jinja {
namespace {

// Reads up to `digits_max` digits of `base` at `position`, moving it.
uint32_t read_digits(std::string_view body, size_t& position, int base, size_t digits_max) {
  uint32_t value = 0;
  const char* begin = body.data() + position;
  const char* end = body.data() + std::min(body.size(), position + digits_max);
  const auto [stop, error] = std::from_chars(begin, end, value, base);
  if (error == std::errc()) position += static_cast<size_t>(stop - begin);
  return value;
}

// \xhh, \uhhhh, \Uhhhhhhhh: exactly `digits` of them.
Status append_hex(std::string& out, std::string_view body, size_t& position, size_t digits) {
  const size_t begin = position;
  const uint32_t value = read_digits(body, position, 16, digits);
  if (position - begin != digits) return Error{Code::kInvalid, "escape in string is cut short"};
  if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
    return Error{Code::kInvalid, "escape in string is no character"};
  }
  append_code_point(out, value);
  return {};
}

// A backslash before a character outside ASCII: Python escapes that character first, so the
// backslash stays and the character becomes its own escape's letters.
void append_spelled(std::string& out, uint32_t code_point) {
  if (code_point < 0x100) {
    out += fmt::format("\\x{:02x}", code_point);
  } else if (code_point < 0x10000) {
    out += fmt::format("\\u{:04x}", code_point);
  } else {
    out += fmt::format("\\U{:08x}", code_point);
  }
}

}  // namespace

Result<std::string> unescape_literal(std::string_view body) {
  std::string out;
  out.reserve(body.size());
  constexpr std::string_view kLetters = "\\'\"abfnrtv";
  constexpr std::string_view kValues = "\\'\"\a\b\f\n\r\t\v";
  for (size_t i = 0; i < body.size();) {
    if (body[i] != '\\') {
      out += body[i++];
      continue;
    }
    if (++i >= body.size()) return Error{Code::kInvalid, "string ends in a backslash"};
    const char c = body[i];
    if (const size_t letter = kLetters.find(c); letter != std::string_view::npos) {
      out += kValues[letter];
      ++i;
    } else if (c == '\n') {
      ++i;
    } else if (c >= '0' && c <= '7') {
      append_code_point(out, read_digits(body, i, 8, 3));
    } else if (c == 'x' || c == 'u' || c == 'U') {
      ++i;
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      if (Status read = append_hex(out, body, i, digits); !read) return read.error();
    } else if (c == 'N') {
      return Error{Code::kUnsupported, "character names (\\N) are not supported"};
    } else {
      const CodePoint point = read_code_point(body.substr(i));
      if (point.value < 0x80) {
        out += '\\';
        out += c;
      } else {
        append_spelled(out, point.value);
      }
      i += static_cast<size_t>(point.length);
    }
  }
  return out;
}

namespace {

// Copies `text`: `replacement(code point, out)` writes and returns true, or leaves the code point
// as it is. Gathers what it writes, as most escapes are a few bytes between a few bytes.
template <class Replace>
void add_escaped(Builder& out, const Text& text, Replace replacement) {
  constexpr size_t kGatheredMax = 4096;
  text.each_run([&](std::string_view piece, Origin origin) {
    std::string gathered;
    for (size_t i = 0; i < piece.size() && out.growing();) {
      const size_t begin = i;
      for (; i < piece.size() && gathered.size() < kGatheredMax;) {
        const auto byte = static_cast<unsigned char>(piece[i]);
        const CodePoint point =
            byte < 0x80 ? CodePoint{byte, 1, true} : read_code_point(piece.substr(i));
        const auto length = static_cast<size_t>(point.length);
        if (!replacement(point.value, gathered)) gathered += piece.substr(i, length);
        i += length;
      }
      out.add(gathered, origin);
      out.read(i - begin);
      gathered.clear();
    }
  });
}

// The short escapes that repr and JSON share; empty for other characters.
std::string_view short_escape(uint32_t c) {
  switch (c) {
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\\':
      return "\\\\";
    default:
      return {};
  }
}

}  // namespace

void add_repr(Builder& out, const Text& text, Origin quotes) {
  const std::string_view view = text.view();
  const bool single =
      view.find('\'') == std::string_view::npos || view.find('"') != std::string_view::npos;
  const std::string_view quote = single ? "'" : "\"";
  out.add(quote, quotes);
  add_escaped(out, text, [&](uint32_t c, std::string& escaped) {
    if (single && c == '\'') {
      escaped += "\\'";
    } else if (const std::string_view known = short_escape(c); !known.empty()) {
      escaped += known;
    } else if (is_printable(c)) {
      return false;
    } else {
      append_spelled(escaped, c);
    }
    return true;
  });
  out.add(quote, quotes);
}

void add_json(Builder& out, const Text& text, Origin quotes, bool ascii_only) {
  out.add("\"", quotes);
  add_escaped(out, text, [&](uint32_t c, std::string& escaped) {
    if (c == '"') {
      escaped += "\\\"";
    } else if (const std::string_view known = short_escape(c); !known.empty()) {
      escaped += known;
    } else if (c == '\b' || c == '\f') {
      escaped += c == '\b' ? "\\b" : "\\f";
    } else if (c >= 0x10000 && ascii_only) {
      const uint32_t rest = c - 0x10000;
      escaped += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
    } else if (c < 0x20 || (c > 0x7e && ascii_only)) {
      escaped += fmt::format("\\u{:04x}", c);
    } else {
      return false;
    }
    return true;
  });
  out.add("\"", quotes);
}

void add_html(Builder& out, const Text& text) {
  add_escaped(out, text, [](uint32_t c, std::string& escaped) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        return true;
      case '<':
        escaped += "&lt;";
        return true;
      case '>':
        escaped += "&gt;";
        return true;
      case '\'':
        escaped += "&#39;";
        return true;
      case '"':
        escaped += "&#34;";
        return true;
      default:
        return false;
    }
  });
}

std::string repr_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::scientific);
  DCHECK(error == std::errc());
  const std::string_view shortest(buffer.data(), static_cast<size_t>(end - buffer.data()));
  const size_t e = shortest.find('e');
  int exponent = 0;
  const std::string_view digits_of_exponent = shortest.substr(e + (shortest[e + 1] == '+' ? 2 : 1));
  std::from_chars(digits_of_exponent.data(), end, exponent);
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}e{}{:02}", shortest.substr(0, e), exponent < 0 ? '-' : '+',
                       std::abs(exponent));
  }
  const bool negative = shortest[0] == '-';
  std::string digits(shortest.substr(negative ? 1 : 0, e - (negative ? 1 : 0)));
  std::erase(digits, '.');
  if (exponent < 0) {
    digits = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else {
    const auto whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() < whole) digits.append(whole - digits.size(), '0');
    digits.insert(whole, digits.size() == whole ? ".0" : ".");
  }
  return (negative ? "-" : "") + digits;
}

}  // namespace ration::jinja
