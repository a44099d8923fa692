// model/template/strings.h - what Python's str methods and Jinja's text filters have in common.
// Every result keeps, piece by piece, who wrote it, and stays safe where the input was.
#pragma once

#include <cstdint>
#include <vector>

#include "model/template/value.h"

namespace ration::jinja {

Value upper(Machine& machine, const StringObject& string);
Value lower(Machine& machine, const StringObject& string);
Value folded(Machine& machine, const StringObject& string);
Value capitalized(Machine& machine, const StringObject& string);
Value swapped(Machine& machine, const StringObject& string);
// str.title(): a new word after every character without case.
Value titled(Machine& machine, const StringObject& string);
// Jinja's title filter: a new word after white space, '-', '(', '{', '[' and '<'.
Value titled_words(Machine& machine, const StringObject& string);

struct Sides {
  bool left = true;
  bool right = true;
};
// Without the white space, or the code points of `chars`, at the chosen sides.
Value stripped(Machine& machine, const StringObject& string, const StringObject* chars,
               Sides sides);

// Byte ranges [begin, end).
struct Piece {
  size_t begin;
  size_t end;
};
Value piece_of(Machine& machine, const StringObject& string, Piece piece);

struct Line {
  Piece text;
  size_t end;  // with its line end
};
std::vector<Line> lines_of(Machine& machine, const StringObject& string);

// str.split() and str.rsplit(); `separator` null: at white space. count_max < 0: no limit. An empty
// separator fails.
std::vector<Piece> split(Machine& machine, const StringObject& string,
                         const StringObject* separator, int64_t count_max);
std::vector<Piece> split_from_end(Machine& machine, const StringObject& string,
                                  const StringObject* separator, int64_t count_max);

// str.replace(): at most `count_max` times (< 0: all).
Text replaced(Machine& machine, const Text& text, const Text& old, const Text& with,
              int64_t count_max);

enum class Align : uint8_t { kLeft, kRight, kCenter };
// At least `width` code points. `fill`: one code point.
Value padded(Machine& machine, const StringObject& string, int64_t width, const Text& fill,
             Align align);

}  // namespace ration::jinja
