#include "model/tokenizer/split.h"

#include <algorithm>

#include "base/check.h"
#include "model/tokenizer/scan.h"

namespace ration {

bool CharSet::has(const Char& c) const {
  if (c.bytes == 0) return false;
  bool found = c.is(flags);
  // White space outside ASCII is only ever matched as white space.
  if (!found && !(c.is(kSpace) && c.code >= 0x80)) {
    const auto above =
        std::upper_bound(ranges.begin(), ranges.end(), c.code,
                         [](uint32_t code, const CodeRange& range) { return code < range.first; });
    found = above != ranges.begin() && c.code <= std::prev(above)->last;
  }
  return found != negated;
}

namespace {

size_t match_run(std::string_view text, size_t at, const RunRule& rule) {
  Char c = char_at(text, at);
  size_t end = at;
  if ((rule.lead == RunRule::Lead::kSpace && c.code == ' ') ||
      (rule.lead == RunRule::Lead::kWhiteSpace && c.is(kSpace))) {
    end += c.bytes;
    c = char_at(text, end);
  }
  uint32_t count = 0;
  while (count < rule.max && rule.set.has(c)) {
    end += c.bytes;
    ++count;
    c = char_at(text, end);
  }
  return count >= rule.min ? end : at;
}

size_t match_runs(std::string_view text, size_t at, std::span<const RunRule> rules) {
  for (const RunRule& rule : rules) {
    if (const size_t end = match_run(text, at, rule); end > at) return end;
  }
  return at;
}

// <sentinel:[0-9]+>
size_t match_sentinel(std::string_view text, size_t at) {
  constexpr std::string_view kOpen = "<sentinel:";
  if (!text.substr(at).starts_with(kOpen)) return at;
  size_t end = at + kOpen.size();
  while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
  const bool digits = end > at + kOpen.size();
  return digits && end < text.size() && text[end] == '>' ? end + 1 : at;
}

// IMGIMG[A-I]{1,4}Z
size_t match_image_code(std::string_view text, size_t at) {
  constexpr std::string_view kOpen = "IMGIMG";
  if (!text.substr(at).starts_with(kOpen)) return at;
  size_t end = at + kOpen.size();
  const size_t letters_end = std::min(text.size(), end + 4);
  while (end < letters_end && text[end] >= 'A' && text[end] <= 'I') ++end;
  const bool letters = end > at + kOpen.size();
  return letters && end < text.size() && text[end] == 'Z' ? end + 1 : at;
}

size_t match_indent(std::string_view text, size_t at) {
  if (text[at] == '\t' || text[at] == '\n') return at + 1;
  if (text.substr(at).starts_with("    ")) return at + 4;
  if (text.substr(at).starts_with("  ")) return at + 2;
  return at;
}

size_t match_trailing_space(std::string_view text, size_t at) {
  const size_t end = skip(text, at, kSpace);
  return end == text.size() ? end : at;
}

size_t match_line(std::string_view text, size_t at) {
  const bool newlines = text[at] == '\n';
  const size_t found = newlines ? text.find_first_not_of('\n', at) : text.find('\n', at);
  return std::min(found, text.size());
}

// Calls put(end) behind each match of match(at) (an end, or `at` for none) and each stretch
// between.
template <class Match, class Put>
void cut_matches(std::string_view text, const Match& match, const Put& put) {
  size_t unmatched = 0;  // where the stretch before the next match begins
  for (size_t at = 0; at < text.size();) {
    const size_t end = match(at);
    if (end == at) {
      at += stated_length(text[at]);
      continue;
    }
    if (at > unmatched) put(at);
    put(end);
    at = unmatched = end;
  }
  if (unmatched < text.size()) put(text.size());
}

template <class Put>
void cut_words(std::string_view text, const WordRule& rule, const Put& put) {
  size_t blank_until = 0;
  cut_matches(text, [&](size_t at) { return match_word(text, at, rule, blank_until); }, put);
}

// White space that ends no text is tried once a run, not once a character: the rule is not linear
// otherwise.
template <class Put>
void cut_trailing_space(std::string_view text, const Put& put) {
  for (size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    if (!c.is(kSpace)) {
      at += c.bytes;
    } else if (match_trailing_space(text, at) > at) {
      if (at > 0) put(at);
      break;
    } else {
      at = skip(text, at, kSpace);
    }
  }
  put(text.size());
}

template <class Put>
void cut_digits_by_three(std::string_view text, const Put& put) {
  size_t last = 0;
  for (size_t at = 0; at < text.size();) {
    const Char c = char_at(text, at);
    if (!c.is(kNumber)) {
      at += c.bytes;
      continue;
    }
    size_t count = 0;
    for (size_t end = at; char_at(text, end).is(kNumber); ++count) end += char_at(text, end).bytes;
    for (; count > 0; --count) {
      at += char_at(text, at).bytes;
      if (count % 3 == 1) put(last = at);
    }
  }
  if (last < text.size()) put(text.size());
}

template <class Put>
void cut_thousands(std::string_view text, const Put& put) {
  const auto is_digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  for (size_t at = 0; at < text.size();) {
    if (!is_digit(at)) {
      ++at;
      continue;
    }
    size_t end = at;
    while (end < text.size() && is_digit(end)) ++end;
    for (; at < end; ++at) {
      if ((end - at) % 3 == 0 && at > 0) put(at);
    }
  }
  put(text.size());
}

template <class Put>
void cut(std::string_view text, const Stage& stage, const Put& put) {
  using Kind = Stage::Kind;
  switch (stage.kind) {
    case Kind::kWords:
      return cut_words(text, stage.word, put);
    case Kind::kRuns:
      return cut_matches(text, [&](size_t at) { return match_runs(text, at, stage.runs); }, put);
    case Kind::kGpt2:
      return cut_matches(text, [&](size_t at) { return match_gpt2(text, at); }, put);
    case Kind::kKimi:
      return cut_matches(text, [&](size_t at) { return match_kimi(text, at); }, put);
    case Kind::kSentinel:
      return cut_matches(text, [&](size_t at) { return match_sentinel(text, at); }, put);
    case Kind::kImageCode:
      return cut_matches(text, [&](size_t at) { return match_image_code(text, at); }, put);
    case Kind::kIndent:
      return cut_matches(text, [&](size_t at) { return match_indent(text, at); }, put);
    case Kind::kLines:
      return cut_matches(text, [&](size_t at) { return match_line(text, at); }, put);
    case Kind::kTrailingSpace:
      return cut_trailing_space(text, put);
    case Kind::kDigitsByThree:
      return cut_digits_by_three(text, put);
    case Kind::kThousands:
      return cut_thousands(text, put);
  }
}

}  // namespace

void split_text(std::string_view text, std::span<const Stage> stages, std::vector<uint32_t>& ends,
                std::vector<uint32_t>& spare) {
  CHECK(text.size() < UINT32_MAX);
  ends.clear();
  if (text.empty()) return;
  ends.push_back(static_cast<uint32_t>(text.size()));
  for (const Stage& stage : stages) {
    spare.clear();
    uint32_t begin = 0;
    for (const uint32_t end : ends) {
      cut(text.substr(begin, end - begin), stage,
          [&](size_t at) { spare.push_back(begin + static_cast<uint32_t>(at)); });
      begin = end;
    }
    ends.swap(spare);
  }
}

}  // namespace ration
