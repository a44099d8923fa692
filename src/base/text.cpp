#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace ration {
namespace {

constexpr uint32_t kReplacement = 0xfffd;

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

CodePoint read_code_point(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1, true};
  constexpr CodePoint kInvalid{kReplacement, 1, false};
  const int length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < static_cast<size_t>(length)) return kInvalid;
  uint32_t value = first & (0xffu >> (length + 1));
  for (int i = 1; i < length; ++i) {
    const unsigned char next = byte(static_cast<size_t>(i));
    if ((next & 0xc0) != 0x80) return kInvalid;
    value = (value << 6) | (next & 0x3fu);
  }
  constexpr uint32_t kLeast[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
    return kInvalid;
  }
  return {value, length, true};
}

void append_code_point(std::string& out, uint32_t code_point) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3f));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const CodePoint point = read_code_point(text);
    if (!point.valid) return false;
    text.remove_prefix(static_cast<size_t>(point.length));
  }
  return true;
}

size_t incomplete_utf8_tail(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xc0) == 0x80) continue;  // a continuation: look further back for its head
    const size_t wanted = byte >= 0xf0 && byte <= 0xf4 ? 4
                          : byte >= 0xe0               ? 3
                          : byte >= 0xc2               ? 2
                                                       : 1;
    return byte <= 0xf4 && wanted > back ? back : 0;
  }
  return 0;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = read_code_point(text);
    if (point.valid) {
      out.append(text.substr(0, static_cast<size_t>(point.length)));
    } else {
      append_code_point(out, kReplacement);
    }
    text.remove_prefix(static_cast<size_t>(point.length));
  }
  return out;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const CodePoint point = read_code_point(text);
    const std::string_view bytes = text.substr(0, static_cast<size_t>(point.length));
    text.remove_prefix(bytes.size());
    if (!point.valid) {
      append_code_point(out, kReplacement);
      continue;
    }
    switch (point.value) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (point.value < 0x20 || point.value == 0x7f) {
          out += fmt::format("\\u{:04x}", point.value);
        } else {
          out += bytes;
        }
    }
  }
  out += '"';
}

std::string_view take_line(std::string_view& rest) {
  const size_t end = std::min(rest.find('\n'), rest.size());
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string> names,
                                       size_t count_max) {
  std::vector<std::pair<size_t, std::string>> ranked;
  for (const std::string& name : names) {
    const bool contained = (wanted.size() >= 3 && name.find(wanted) != std::string::npos) ||
                           (name.size() >= 3 && wanted.find(name) != std::string_view::npos);
    const size_t distance = edit_distance(wanted, name);
    const size_t longer = std::max(wanted.size(), name.size());
    if (contained || distance <= (longer < 3 ? 1 : std::max<size_t>(2, longer / 3))) {
      ranked.emplace_back(contained ? distance / 4 : distance, name);
    }
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> nearest;
  for (auto& [distance, name] : ranked) {
    if (nearest.size() < count_max) nearest.push_back(std::move(name));
  }
  return nearest;
}

std::string did_you_mean(std::string_view wanted, std::span<const std::string> names) {
  const std::vector<std::string> nearest = nearest_names(wanted, names);
  if (nearest.empty()) return "";
  return fmt::format("did you mean '{}'?", fmt::join(nearest, "', '"));
}

}  // namespace ration
