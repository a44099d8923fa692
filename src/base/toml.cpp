#include "base/toml.h"

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/text.h"

namespace ration {
namespace {

// toml++ 3.3 runs into undefined behaviour when it meets most characters beyond ASCII where a blank
// could be. So it is shown each of their bytes as a character it handles well, from Unicode's
// private range, and what it read is turned back.
constexpr uint32_t kByteStandIns = 0xE000;

std::string with_stand_ins(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    append_code_point(out, byte < 0x80 ? byte : kByteStandIns + byte);
  }
  return out;
}

std::string without_stand_ins(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const CodePoint point = read_code_point(text);
    if (point.value >= kByteStandIns + 0x80 && point.value <= kByteStandIns + 0xFF) {
      out += static_cast<char>(point.value - kByteStandIns);
    } else {
      append_code_point(out, point.value);
    }
    text.remove_prefix(static_cast<size_t>(point.length));
  }
  return to_valid_utf8(out);
}

// Turns back every string and key of the tree.
void restore(toml::node& node) {
  if (auto* text = node.as_string()) {
    text->get() = without_stand_ins(text->get());
  } else if (toml::array* array = node.as_array()) {
    for (toml::node& element : *array) restore(element);
  } else if (toml::table* table = node.as_table()) {
    std::vector<std::string> keys;  // that are not what they were in the file
    for (auto&& [key, value] : *table) {
      restore(value);
      if (without_stand_ins(key.str()) != key.str()) keys.emplace_back(key.str());
    }
    for (const std::string& key : keys) {
      const auto found = table->find(key);
      table->insert(without_stand_ins(key), std::move(found->second));
      table->erase(found);
    }
  }
}

// toml++ 3.3 asserts, rather than reports, that a table's header begins with a name: "[[[" would
// end the program. So that is looked at first.
Status check_headers(std::string_view text, std::string_view origin) {
  constexpr std::string_view kBlank = " \t";
  constexpr std::string_view kNameBegins =
      "\"']-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (int line = 1; !text.empty(); ++line) {
    const size_t end = text.find_first_of("\n\r\v\f");
    std::string_view rest = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    rest.remove_prefix(std::min(rest.find_first_not_of(kBlank), rest.size()));
    if (!rest.starts_with('[')) continue;
    rest.remove_prefix(rest.starts_with("[[") ? 2 : 1);
    const size_t name = rest.find_first_not_of(kBlank);
    if (name == std::string_view::npos || kNameBegins.find(rest[name]) == std::string_view::npos) {
      return Error{Code::kInvalid,
                   fmt::format("{}, line {}: no table name after '['", origin, line)};
    }
  }
  return {};
}

}  // namespace

Result<toml::table> parse_toml(std::string_view text, std::string_view origin) {
  if (!is_valid_utf8(text)) {
    return Error{Code::kInvalid, fmt::format("{}: it is not text in UTF-8", origin)};
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // some editors' mark
  if (Status sane = check_headers(text, origin); !sane) return sane.error();
  toml::parse_result parsed = toml::parse(with_stand_ins(text), origin);
  if (!parsed) {
    const toml::parse_error& problem = parsed.error();
    return Error{Code::kInvalid, fmt::format("{}, line {}: {}", origin, problem.source().begin.line,
                                             without_stand_ins(problem.description()))};
  }
  toml::table table = std::move(parsed).table();
  restore(table);
  return table;
}

}  // namespace ration
