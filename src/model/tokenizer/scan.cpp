#include "model/tokenizer/scan.h"

#include <algorithm>

namespace ration {

namespace {

constexpr uint16_t kNeitherLetterNorNumber = 0xff & ~(kLetter | kNumber);

// 's 't 'm 'd 're 've 'll: 0, 2 or 3 bytes.
size_t contraction_length(std::string_view text, size_t at, bool any_case) {
  if (at >= text.size() || text[at] != '\'') return 0;
  const auto letter = [&](size_t i) -> char {
    if (at + i >= text.size()) return '\0';
    const char c = text[at + i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  };
  switch (letter(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return letter(2) == 'e' ? 3 : 0;
    case 'l':
      return letter(2) == 'l' ? 3 : 0;
    default:
      return 0;
  }
}

bool is_mark_of(const Char& c, uint16_t marks) { return c.is(marks) && !c.is(kSpace); }

size_t skip_marks(std::string_view text, size_t at, uint16_t marks) {
  while (at < text.size()) {
    const Char c = char_at(text, at);
    if (!is_mark_of(c, marks)) break;
    at += c.bytes;
  }
  return at;
}

// Behind the white space at `at`; and how far its last newline reaches (0: none).
struct WhiteSpace {
  size_t end;
  size_t last_begin;  // of its last character
  size_t newline_end;
};
WhiteSpace scan_white_space(std::string_view text, size_t at) {
  WhiteSpace space{at, at, 0};
  while (space.end < text.size()) {
    const Char c = char_at(text, space.end);
    if (!c.is(kSpace)) break;
    space.last_begin = space.end;
    space.end += c.bytes;
    if (c.is_newline()) space.newline_end = space.end;
  }
  return space;
}

// All but the last character of white space that something follows: that one goes with the next
// word.
size_t match_spaces(std::string_view text, size_t at, const WhiteSpace& space) {
  if (space.end < text.size() && space.last_begin > at) return space.last_begin;
  return space.end;
}

// The largest of 512, 256, ... 4, 2, 1 characters behind which white space or the end follows.
size_t match_halving_spaces(std::string_view text, size_t at) {
  constexpr size_t kMost = 512;
  size_t ends[kMost + 1] = {at};
  size_t count = 0;
  while (count < kMost) {
    const Char c = char_at(text, ends[count]);
    if (!c.is(kSpace)) break;
    ends[count + 1] = ends[count] + c.bytes;
    ++count;
  }
  if (count == 0) return at;
  const Char next = char_at(text, ends[count]);
  const bool word_follows = next.bytes > 0 && !next.is(kSpace);
  for (size_t step = kMost; step > 1; step /= 2) {
    if (step < count || (step == count && !word_follows)) return ends[step];
  }
  return ends[1];
}

// An upper-case run, then a lower-case run, in ASCII; what has no case in ASCII belongs to both.
bool is_upper_like(const Char& c, uint16_t letters) {
  return c.is(letters) && !(c.code >= 'a' && c.code <= 'z');
}
bool is_lower_like(const Char& c, uint16_t letters) {
  return c.is(letters) && !(c.code >= 'A' && c.code <= 'Z');
}

// upper* lower+, giving back from the upper run what the lower run needs.
size_t match_lower_word(std::string_view text, size_t at, uint16_t letters) {
  size_t end = at;
  size_t both_end = at;  // behind the last character of the upper run that is also lower
  for (Char c = char_at(text, end); is_upper_like(c, letters); c = char_at(text, end)) {
    end += c.bytes;
    if (is_lower_like(c, letters)) both_end = end;
  }
  const size_t upper_end = end;
  for (Char c = char_at(text, end); is_lower_like(c, letters); c = char_at(text, end)) {
    end += c.bytes;
  }
  return end > upper_end ? end : both_end;
}

// upper+ lower*
size_t match_upper_word(std::string_view text, size_t at, uint16_t letters) {
  size_t end = at;
  for (Char c = char_at(text, end); is_upper_like(c, letters); c = char_at(text, end)) {
    end += c.bytes;
  }
  if (end == at) return at;
  for (Char c = char_at(text, end); is_lower_like(c, letters); c = char_at(text, end)) {
    end += c.bytes;
  }
  return end;
}

// lead: where the word begins if one character may come before it, else `at`.
size_t match_camel(std::string_view text, size_t at, size_t lead, uint16_t letters) {
  const auto try_both = [&](auto match) {
    if (lead > at) {
      if (const size_t end = match(text, lead, letters); end > lead) return end;
    }
    return match(text, at, letters);
  };
  const size_t end = try_both(match_lower_word);
  return end > at ? end : try_both(match_upper_word);
}

// letter marks*, then more of the same directly or behind a single space.
size_t match_spaced(std::string_view text, size_t at) {
  size_t end = at;
  for (size_t next = at;;) {
    const Char c = char_at(text, next);
    if (!c.is(kLetter)) return end;
    end = skip(text, next + c.bytes, kMark);
    next = end;
    if (end < text.size() && text[end] == ' ') ++next;
  }
}

size_t match_letters(std::string_view text, size_t at, const Char& c, const WordRule& rule) {
  const bool may_lead = !c.is_newline() && !c.is(rule.not_before);
  if (rule.letter_case == WordRule::Case::kCamel) {
    return match_camel(text, at, may_lead ? at + c.bytes : at, rule.letters);
  }
  size_t begin = at;
  if (!c.is(rule.letters)) {
    if (!may_lead) return at;
    begin += c.bytes;
  }
  const size_t end = rule.letter_case == WordRule::Case::kSpaced ? match_spaced(text, begin)
                                                                 : skip(text, begin, rule.letters);
  return end > begin ? end : at;
}

size_t skip_tail(std::string_view text, size_t at, WordRule::Tail tail) {
  const auto fits = [&](char c) {
    return c == '\n' || c == '\r' || (c == '/' && tail != WordRule::Tail::kNewlines);
  };
  if (tail == WordRule::Tail::kNone) return at;
  while (at < text.size() && fits(text[at])) {
    ++at;
    if (tail == WordRule::Tail::kOneNewlineOrSlash) break;
  }
  return at;
}

size_t skip_digits(std::string_view text, size_t at, uint32_t count_max) {
  for (uint32_t count = 0; count < count_max; ++count) {
    const Char c = char_at(text, at);
    if (!c.is(kNumber)) break;
    at += c.bytes;
  }
  return at;
}

// [ ]?marks+ and the tail.
size_t match_marks(std::string_view text, size_t at, const Char& c, uint16_t marks,
                   WordRule::Tail tail) {
  const size_t begin = c.code == ' ' ? at + 1 : at;
  const size_t end = skip_marks(text, begin, marks);
  return end > begin ? skip_tail(text, end, tail) : at;
}

size_t match_marked_word(std::string_view text, size_t at, const Char& c) {
  if (c.code >= 0x80 || !c.is(kPunctuation | kSymbol)) return at;
  size_t end = at + 1;
  while (end < text.size() && static_cast<unsigned char>(text[end]) < 0x80 &&
         (kAsciiFlags[static_cast<unsigned char>(text[end])] & kLetter) != 0) {
    ++end;
  }
  return end > at + 1 ? end : at;
}

bool is_han(uint32_t code) {
  constexpr CodeRange kHan[] = {{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},
                                {0x20000, 0x2a6df}, {0x2a700, 0x2ebef}, {0x2f800, 0x2fa1f}};
  return std::any_of(std::begin(kHan), std::end(kHan), [&](const CodeRange& range) {
    return code >= range.first && code <= range.last;
  });
}

}  // namespace

size_t match_word(std::string_view text, size_t at, const WordRule& rule, size_t& blank_until) {
  const Char c = char_at(text, at);
  if (rule.contraction_first) {
    if (const size_t length = contraction_length(text, at, true); length > 0) return at + length;
  }
  if (rule.marked_word_first) {
    if (const size_t end = match_marked_word(text, at, c); end > at) return end;
  }
  if (const size_t end = match_letters(text, at, c, rule); end > at) {
    return rule.contraction_after ? end + contraction_length(text, end, true) : end;
  }
  if (c.is(kNumber) && rule.digits_max > 0) return skip_digits(text, at, rule.digits_max);
  if (const size_t end = match_marks(text, at, c, rule.marks, rule.tail); end > at) return end;
  if (!c.is(kSpace)) return at;
  if (rule.single_newlines && c.is_newline()) return at + 1;
  if (at < blank_until) return match_halving_spaces(text, at);
  const WhiteSpace space = scan_white_space(text, at);
  if (!rule.single_newlines && space.newline_end > 0) return space.newline_end;
  if (!rule.halving_spaces) return match_spaces(text, at, space);
  blank_until = space.end;
  return match_halving_spaces(text, at);
}

size_t match_gpt2(std::string_view text, size_t at) {
  if (const size_t length = contraction_length(text, at, false); length > 0) return at + length;
  const size_t begin = text[at] == ' ' ? at + 1 : at;
  const Char c = char_at(text, begin);
  if (c.is(kLetter)) return skip(text, begin, kLetter);
  if (c.is(kNumber)) return skip(text, begin, kNumber);
  if (is_mark_of(c, kNeitherLetterNorNumber)) {
    return skip_marks(text, begin, kNeitherLetterNorNumber);
  }
  return match_spaces(text, at, scan_white_space(text, at));
}

size_t match_kimi(std::string_view text, size_t at) {
  const auto is_word_letter = [](const Char& c) { return c.is(kLetter) && !is_han(c.code); };
  const Char c = char_at(text, at);
  size_t end = at;
  for (Char next = c; next.bytes > 0 && is_han(next.code); next = char_at(text, end)) {
    end += next.bytes;
  }
  if (end > at) return end;

  const bool leads = !c.is_newline() && !c.is(kLetter | kNumber);
  const size_t begin = leads ? at + c.bytes : at;
  end = begin;
  for (Char next = char_at(text, end); is_word_letter(next); next = char_at(text, end)) {
    end += next.bytes;
  }
  if (end > begin) return end + contraction_length(text, end, true);

  if (c.is(kNumber)) return skip_digits(text, at, 3);
  end = match_marks(text, at, c, kNeitherLetterNorNumber, WordRule::Tail::kNewlines);
  if (end > at) return end;
  const WhiteSpace space = scan_white_space(text, at);
  return space.newline_end > 0 ? space.newline_end : match_spaces(text, at, space);
}

}  // namespace ration
