// measure/parse.h - taking the kernel's small text files apart.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unit.h"

namespace ration {

inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// The pieces between `separator`, empty ones left out.
inline std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    if (end != 0) pieces.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return pieces;
}

// The number `text` starts with, after spaces; whatever follows it is ignored.
template <class Number>
std::optional<Number> leading_number(std::string_view text) {
  text = trimmed(text);
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

// What follows `key` and a colon on the first line that starts with it: "VmRSS:   12 kB" -> "12
// kB".
inline std::optional<std::string_view> field(std::string_view text, std::string_view key) {
  for (const std::string_view line : split(text, '\n')) {
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos && trimmed(line.substr(0, colon)) == key) {
      return trimmed(line.substr(colon + 1));
    }
  }
  return std::nullopt;
}

// A field in kB, as bytes. Null when absent, negative or too large to be true.
inline std::optional<Bytes> kib_field(std::string_view text, std::string_view key) {
  const auto value = field(text, key);
  if (!value) return std::nullopt;
  const auto number = leading_number<int64_t>(*value);
  if (!number || *number < 0 || *number > (int64_t{1} << 50)) return std::nullopt;
  return Bytes{*number * kKiB};
}

// How many numbers a list such as "0-3,8,10-11" names; null when it is not such a list.
inline std::optional<int> count_of_list(std::string_view list) {
  int count = 0;
  for (const std::string_view piece : split(trimmed(list), ',')) {
    const size_t dash = piece.find('-');
    const auto first = leading_number<int>(piece.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : leading_number<int>(piece.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last > 1'000'000) return std::nullopt;
    count += *last - *first + 1;
  }
  return count > 0 ? std::optional(count) : std::nullopt;
}

}  // namespace ration
