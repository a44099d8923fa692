// model/tokenizer/characters.h - code points and the classes that pre-tokenisers ask about.
//
// Classes are Unicode 15.1's, from utf8proc (15.0) and the little that 15.1 added.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace ration {

// One of the first eight a code point; kSpace may come on top.
enum CharFlag : uint16_t {
  kUnassigned = 1,
  kNumber = 2,        // \p{N}
  kLetter = 4,        // \p{L}
  kSeparator = 8,     // \p{Z}
  kMark = 16,         // \p{M}
  kPunctuation = 32,  // \p{P}
  kSymbol = 64,       // \p{S}
  kOther = 128,       // \p{C} except unassigned
  kSpace = 256,       // \s
};

namespace internal {
constexpr std::array<uint16_t, 128> ascii_flags() {
  std::array<uint16_t, 128> flags{};
  for (unsigned c = 0; c < 128; ++c) {
    if (c < 0x20 || c == 0x7f)
      flags[c] = kOther;
    else if (c == ' ')
      flags[c] = kSeparator;
    else if (c >= '0' && c <= '9')
      flags[c] = kNumber;
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
      flags[c] = kLetter;
    else
      flags[c] = kPunctuation;
  }
  for (const char c : {'$', '+', '<', '=', '>', '^', '`', '|', '~'}) {
    flags[static_cast<unsigned char>(c)] = kSymbol;
  }
  for (const char c : {' ', '\t', '\n', '\v', '\f', '\r'}) {
    flags[static_cast<unsigned char>(c)] |= kSpace;
  }
  return flags;
}
}  // namespace internal

inline constexpr std::array<uint16_t, 128> kAsciiFlags = internal::ascii_flags();

// A code point in a text; flags 0 and bytes 0 past its end.
struct Char {
  uint32_t code = ~0u;
  uint16_t flags = 0;
  uint16_t bytes = 0;

  bool is(uint16_t any) const { return (flags & any) != 0; }
  bool is_newline() const { return code == '\n' || code == '\r'; }
};

// CharFlag bits of any code point, also above U+10FFFF (unassigned).
uint16_t char_flags(uint32_t code_point);
// \p{Mn}
bool is_nonspacing_mark(uint32_t code_point);
uint32_t lower_case(uint32_t code_point);
// The first code point of its full canonical decomposition: most letters without their accent.
uint32_t base_letter(uint32_t code_point);
// That decomposition whole: letters and their accents, Hangul as its parts. Empty above U+10FFFF.
struct Decomposition {
  std::array<uint32_t, 32> parts;
  size_t count;
};
Decomposition decompose(uint32_t code_point);

// How many bytes a sequence says it has in its first byte: 1 to 4; 1 for a stray continuation byte.
inline size_t stated_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

// Reads leniently: overlong forms and surrogates are accepted as the number they spell. U+FFFD and
// one byte for what is not even that, or lies above U+10FFFF. REQUIRES: not empty.
struct LenientCodePoint {
  uint32_t code;
  uint16_t bytes;
  bool valid;
};
LenientCodePoint read_lenient(std::string_view text);

// `text` with each bad byte as U+FFFD and overlong forms in their short form: afterwards every code
// point can be read without checks. Returns `text` itself when nothing had to change, else a view
// of
// `scratch`.
std::string_view canonical_utf8(std::string_view text, std::string& scratch);

// The code point at `offset` of canonical text.
Char char_at_slow(std::string_view text, size_t offset);
inline Char char_at(std::string_view text, size_t offset) {
  if (offset >= text.size()) return {};
  const auto byte = static_cast<unsigned char>(text[offset]);
  if (byte < 0x80) return {byte, kAsciiFlags[byte], 1};
  return char_at_slow(text, offset);
}

// `text` with every space as U+2581.
std::string escape_spaces(std::string_view text);
// Appends `text` with every U+2581 as a space.
void append_unescaped(std::string& out, std::string_view text);

inline constexpr std::string_view kEscapedSpace = "\xe2\x96\x81";

}  // namespace ration
