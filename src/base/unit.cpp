#include "base/unit.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <cmath>

namespace ration {
namespace {

struct Suffix {
  std::string_view text;  // lower case
  double factor;
};

constexpr std::array kByteSuffixes{Suffix{"", 1},
                                   Suffix{"b", 1},
                                   Suffix{"k", 1024.0},
                                   Suffix{"kib", 1024.0},
                                   Suffix{"kb", 1e3},
                                   Suffix{"m", 1048576.0},
                                   Suffix{"mib", 1048576.0},
                                   Suffix{"mb", 1e6},
                                   Suffix{"g", 1073741824.0},
                                   Suffix{"gib", 1073741824.0},
                                   Suffix{"gb", 1e9},
                                   Suffix{"t", 1099511627776.0},
                                   Suffix{"tib", 1099511627776.0},
                                   Suffix{"tb", 1e12}};

constexpr std::array kTimeSuffixes{Suffix{"", 1000},   Suffix{"ms", 1},      Suffix{"s", 1000},
                                   Suffix{"m", 60000}, Suffix{"min", 60000}, Suffix{"h", 3600000}};

// A non-negative number with one of the suffixes, scaled by it.
template <size_t N>
Result<double> parse_scaled(std::string_view text, const std::array<Suffix, N>& suffixes,
                            std::string_view wanted) {
  const std::string_view whole = text;
  const auto bad = [&] {
    return Error{Code::kInvalid, fmt::format("found '{}', wanted {}", whole, wanted)};
  };
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return bad();
  std::string suffix;
  for (char c : text.substr(static_cast<size_t>(end - text.data()))) {
    if (c != ' ') suffix += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  for (const Suffix& known : suffixes) {
    if (known.text == suffix) return number * known.factor;
  }
  return bad();
}

}  // namespace

Result<Bytes> parse_bytes(std::string_view text) {
  constexpr std::string_view kWanted = "a size such as 300MB, 1.5GiB or 4096";
  Result<double> count = parse_scaled(text, kByteSuffixes, kWanted);
  if (!count) return count.error();
  if (*count > 9e18) {
    return Error{Code::kInvalid, fmt::format("found '{}', wanted a size below 8 EiB", text)};
  }
  return Bytes{static_cast<int64_t>(*count)};
}

Result<Millis> parse_millis(std::string_view text) {
  Result<double> count =
      parse_scaled(text, kTimeSuffixes, "a time such as 250ms, 3s, 2m or 1h (bare: seconds)");
  if (!count) return count.error();
  return Millis{*count};
}

std::string to_text(Bytes bytes) {
  constexpr std::array<std::string_view, 6> kNames{"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes.count);
  size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < kNames.size()) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes.count);
  const int digits = std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", value, digits, kNames[unit]);
}

}  // namespace ration
