#include "model/tokenizer/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/text.h"

namespace ration {

namespace {

constexpr uint32_t kReplacement = 0xfffd;

uint16_t category_flag(uint32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kLetter;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return kSymbol;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return kSeparator;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
      return kOther;
    case UTF8PROC_CATEGORY_CN:
      break;
  }
  // What Unicode 15.1 added to 15.0.
  if (code_point >= 0x2ebf0 && code_point <= 0x2ee5d) return kLetter;
  if ((code_point >= 0x2ffc && code_point <= 0x2fff) || code_point == 0x31ef) return kSymbol;
  return kUnassigned;
}

bool is_white_space(uint32_t code_point) {
  switch (code_point) {
    case 0x85:
    case 0xa0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202f:
    case 0x205f:
    case 0x3000:
      return true;
    default:
      return code_point >= 0x2000 && code_point <= 0x200a;
  }
}

}  // namespace

uint16_t char_flags(uint32_t code_point) {
  if (code_point < 0x80) return kAsciiFlags[code_point];
  if (code_point > 0x10ffff) return kUnassigned;
  const uint16_t category = category_flag(code_point);
  return is_white_space(code_point) ? static_cast<uint16_t>(category | kSpace) : category;
}

bool is_nonspacing_mark(uint32_t code_point) {
  return code_point <= 0x10ffff &&
         utf8proc_category(static_cast<utf8proc_int32_t>(code_point)) == UTF8PROC_CATEGORY_MN;
}

uint32_t lower_case(uint32_t code_point) {
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point)));
}

uint32_t base_letter(uint32_t code_point) {
  if (code_point < 0x80 || code_point > 0x10ffff) return code_point;
  const Decomposition whole = decompose(code_point);
  return whole.count > 0 ? whole.parts[0] : code_point;
}

Decomposition decompose(uint32_t code_point) {
  Decomposition whole{.parts = {code_point}, .count = code_point <= 0x10ffff ? 1u : 0u};
  if (code_point < 0x80 || whole.count == 0) return whole;
  utf8proc_int32_t parts[32];
  int boundary = 0;
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts, std::size(parts),
                              UTF8PROC_DECOMPOSE, &boundary);
  if (count <= 0 || count > std::ssize(parts)) return whole;
  whole.count = static_cast<size_t>(count);
  std::copy_n(parts, count, whole.parts.begin());
  return whole;
}

LenientCodePoint read_lenient(std::string_view text) {
  constexpr LenientCodePoint kBad{kReplacement, 1, false};
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {first, 1, true};
  const size_t length = stated_length(text[0]);
  if (length == 1 || first >= 0xf8 || text.size() < length) return kBad;
  uint32_t code = first & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return kBad;
    code = (code << 6) | (next & 0x3fu);
  }
  if (code > 0x10ffff) return kBad;
  return {code, static_cast<uint16_t>(length), true};
}

std::string_view canonical_utf8(std::string_view text, std::string& scratch) {
  constexpr uint32_t kLeast[5] = {0, 0, 0x80, 0x800, 0x10000};
  size_t good = 0;  // text before this is canonical
  while (good < text.size()) {
    uint64_t word = 0;
    if (text.size() - good >= 8) {
      std::memcpy(&word, text.data() + good, 8);
      if ((word & 0x8080808080808080ull) == 0) {
        good += 8;
        continue;
      }
    }
    const LenientCodePoint point = read_lenient(text.substr(good));
    if (!point.valid || point.code < kLeast[point.bytes]) break;
    good += point.bytes;
  }
  if (good == text.size()) return text;
  scratch.assign(text.substr(0, good));
  while (good < text.size()) {
    const LenientCodePoint point = read_lenient(text.substr(good));
    append_code_point(scratch, point.code);
    good += point.bytes;
  }
  return scratch;
}

Char char_at_slow(std::string_view text, size_t offset) {
  const LenientCodePoint point = read_lenient(text.substr(offset));
  DCHECK(point.valid);
  return {point.code, char_flags(point.code), point.bytes};
}

std::string escape_spaces(std::string_view text) {
  std::string out;
  const auto spaces = static_cast<size_t>(std::count(text.begin(), text.end(), ' '));
  out.reserve(text.size() + 2 * spaces);
  for (const char c : text) {
    if (c == ' ')
      out += kEscapedSpace;
    else
      out += c;
  }
  return out;
}

void append_unescaped(std::string& out, std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t found = std::min(text.find(kEscapedSpace, at), text.size());
    out += text.substr(at, found - at);
    if (found < text.size()) out += ' ';
    at = std::min(found + kEscapedSpace.size(), text.size());
  }
}

}  // namespace ration
