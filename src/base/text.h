// base/text.h - UTF-8 and small string work that several rooms need.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ration {

// One code point read from the front of a string. Overlong forms, surrogates, values above U+10FFFF
// and cut sequences are invalid: then `length` is 1 and `value` is U+FFFD.
struct CodePoint {
  uint32_t value;
  int length;  // bytes consumed, >= 1
  bool valid;
};
CodePoint read_code_point(std::string_view text);  // REQUIRES: not empty
void append_code_point(std::string& out, uint32_t code_point);

bool is_valid_utf8(std::string_view text);

// How many bytes at the end of `text` begin a code point whose rest is still missing (0 to 3): a
// streamer holds these back.
size_t incomplete_utf8_tail(std::string_view text);

// `text` with every invalid byte as U+FFFD.
std::string to_valid_utf8(std::string_view text);

// Appends `text` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. Streams live on it.
void append_json_string(std::string& out, std::string_view text);

// Cuts the first line off `rest`, and returns it without its end, "\n" or "\r\n".
std::string_view take_line(std::string_view& rest);

// FNV-1a: keeps names apart, and proves nothing.
uint64_t fnv1a(std::string_view text);

// The `count_max` names closest to `wanted` by edit distance, nearest first; only plausible ones
// (distance at most a third of the length, or one contains the other).
std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string> names,
                                       size_t count_max = 3);

// "did you mean 'a', 'b'?" or "".
std::string did_you_mean(std::string_view wanted, std::span<const std::string> names);

}  // namespace ration
