// model/tokenizer/split.h - cutting text into the words inside which BPE merges, by hand-written
// scanners: what the models' authors wrote as regular expressions, in linear time and no stack.
//
// A pre-tokeniser is a list of stages; each cuts every piece that the stage before left. Where a
// stage matches nothing, the text up to its next match is one piece.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "model/tokenizer/characters.h"

namespace ration {

struct CodeRange {
  uint32_t first;
  uint32_t last;
};

// A character class: some classes of Unicode and some ranges, or everything but these.
struct CharSet {
  uint16_t flags = 0;
  std::span<const CodeRange> ranges = {};  // rising
  bool negated = false;

  bool has(const Char& c) const;
};

// [lead]? set{min,max}
struct RunRule {
  enum class Lead : uint8_t { kNone, kSpace, kWhiteSpace };
  CharSet set;
  Lead lead = Lead::kNone;
  uint32_t min = 1;
  uint32_t max = ~0u;
};

// The alternatives of the usual long expression, in the order in which they are tried.
struct WordRule {
  enum class Case : uint8_t {
    kAny,     // letters+
    kCamel,   // upper* lower+ or else upper+ lower*; letters other than ASCII count as both
    kSpaced,  // letters with single spaces between them
  };
  enum class Tail : uint8_t { kNone, kNewlines, kNewlinesAndSlashes, kOneNewlineOrSlash };

  bool contraction_first = false;  // 's 't 're 've 'm 'll 'd in any case
  bool marked_word_first = false;  // an ASCII punctuation mark, then ASCII letters
  uint16_t letters = kLetter;      // what words are made of,
  // after at most one character outside of this, no newline
  uint16_t not_before = kLetter | kNumber;
  Case letter_case = Case::kAny;
  bool contraction_after = false;                // directly behind a word
  uint32_t digits_max = 0;                       // digits a piece; 0: numbers match nothing
  uint16_t marks = 0xff & ~(kLetter | kNumber);  // [ ]?marks+tail, never white space
  Tail tail = Tail::kNewlines;
  bool single_newlines = false;  // else white space up to its last newline
  bool halving_spaces = false;   // runs of white space in powers of two
};

struct Stage {
  enum class Kind : uint8_t {
    kWords,          // word
    kRuns,           // runs, the first that matches
    kGpt2,           // lower-case contractions, [ ]?letters+, [ ]?digits+, [ ]?others+, spaces
    kKimi,           // Han runs apart, words with contractions behind, digits by three
    kDigitsByThree,  // digits in threes counted from their end; what precedes them sticks to them
    kThousands,      // cuts before every third ASCII digit counted from the end
    kLines,          // runs of newlines and of everything else
    kTrailingSpace,  // white space at the end of the piece
    kSentinel,       // <sentinel:123>
    kImageCode,      // IMGIMGABCDZ
    kIndent,         // one tab or newline, four spaces, two spaces
  };
  Kind kind = Kind::kWords;
  WordRule word = {};
  std::span<const RunRule> runs = {};
};

// Fills `ends` with the byte offset behind each piece, rising; the last is text.size().
// text: canonical UTF-8 (characters.h), shorter than 4 GiB. `spare` is scratch. O(text) a stage.
void split_text(std::string_view text, std::span<const Stage> stages, std::vector<uint32_t>& ends,
                std::vector<uint32_t>& spare);

}  // namespace ration
