#include "model/template/strings.h"

#include <algorithm>

#include "base/text.h"
#include "model/template/search.h"
#include "model/template/unicode.h"

namespace ration::jinja {

Value piece_of(Machine& machine, const StringObject& string, Piece piece) {
  if (piece.begin == 0 && piece.end == string.text.size()) return Value::of(&string);
  machine.hold(piece.end - piece.begin);
  return make_string(machine, string.text.slice(piece.begin, piece.end), string.markup);
}

namespace {

// The code points of a set of characters to strip, sorted.
std::vector<uint32_t> code_points(Machine& machine, std::string_view text) {
  machine.read(text.size());
  std::vector<uint32_t> points;
  while (!text.empty()) {
    const CodePoint point = read_code_point(text);
    points.push_back(point.value);
    text.remove_prefix(static_cast<size_t>(point.length));
  }
  std::ranges::sort(points);
  return points;
}

size_t leading(std::string_view text, const std::vector<uint32_t>& points) {
  size_t end = 0;
  while (end < text.size()) {
    const CodePoint point = read_code_point(text.substr(end));
    if (!std::ranges::binary_search(points, point.value)) break;
    end += static_cast<size_t>(point.length);
  }
  return end;
}

size_t trailing(std::string_view text, const std::vector<uint32_t>& points) {
  size_t begin = text.size();
  while (begin > 0) {
    const size_t before = previous_code_point(text, begin);
    if (!std::ranges::binary_search(points, read_code_point(text.substr(before)).value)) break;
    begin = before;
  }
  return text.size() - begin;
}

}  // namespace

Value stripped(Machine& machine, const StringObject& string, const StringObject* chars,
               Sides sides) {
  const std::string_view view = string.text.view();
  std::vector<uint32_t> points;
  if (chars) points = code_points(machine, chars->text.view());
  Piece piece{0, view.size()};
  if (sides.left) piece.begin = chars ? leading(view, points) : leading_space(view);
  const std::string_view rest = view.substr(piece.begin);
  if (sides.right) piece.end -= chars ? trailing(rest, points) : trailing_space(rest);
  machine.read(piece.begin + view.size() - piece.end);
  return piece_of(machine, string, piece);
}

std::vector<Line> lines_of(Machine& machine, const StringObject& string) {
  const std::string_view view = string.text.view();
  machine.read(view.size());
  std::vector<Line> lines;
  for (size_t begin = 0, at = 0; begin < view.size();) {
    CodePoint point{};
    while (at < view.size()) {
      point = read_code_point(view.substr(at));
      if (is_line_end(point.value)) break;
      at += static_cast<size_t>(point.length);
    }
    const size_t text_end = at;
    if (at < view.size()) {
      at += static_cast<size_t>(point.length);
      if (point.value == '\r' && at < view.size() && view[at] == '\n') ++at;
    }
    lines.push_back({{begin, text_end}, at});
    begin = at;
    if (!machine.hold(sizeof(Line))) break;
  }
  return lines;
}

namespace {

bool refuse_empty(Machine& machine, const StringObject* separator) {
  if (!separator || !separator->text.empty()) return false;
  machine.fail("empty separator");
  return true;
}

}  // namespace

std::vector<Piece> split(Machine& machine, const StringObject& string,
                         const StringObject* separator, int64_t count_max) {
  std::vector<Piece> pieces;
  if (refuse_empty(machine, separator)) return pieces;
  const std::string_view view = string.text.view();
  separator ? machine.search(view.size()) : machine.read(view.size());
  size_t begin = separator ? 0 : leading_space(view);
  while (machine.hold(sizeof(Piece))) {
    if (!separator && begin == view.size()) return pieces;
    const bool last = count_max >= 0 && static_cast<int64_t>(pieces.size()) >= count_max;
    size_t end = view.size();
    if (separator && !last) {
      end = std::min(end, find_text(view, separator->text.view(), begin));
    } else if (!last) {
      end = begin;
      while (end < view.size() && leading_space(view.substr(end, 4)) == 0) {
        end += static_cast<size_t>(read_code_point(view.substr(end)).length);
      }
    }
    pieces.push_back({begin, end});
    if (last || end == view.size()) break;
    begin = separator ? end + separator->text.size() : end + leading_space(view.substr(end));
  }
  return pieces;
}

namespace {

// Matches from the end: forwards over both texts reversed, which keeps it linear.
std::vector<Piece> split_backwards(Machine& machine, std::string_view view,
                                   std::string_view separator, int64_t count_max) {
  machine.search(view.size());
  const std::string text(view.rbegin(), view.rend());
  const std::string wanted(separator.rbegin(), separator.rend());
  std::vector<Piece> pieces;
  for (size_t from = 0; machine.hold(sizeof(Piece));) {
    const bool last = count_max >= 0 && static_cast<int64_t>(pieces.size()) >= count_max;
    const size_t at = last ? std::string_view::npos : find_text(text, wanted, from);
    pieces.push_back({view.size() - std::min(at, view.size()), view.size() - from});
    if (at == std::string_view::npos) break;
    from = at + wanted.size();
  }
  std::ranges::reverse(pieces);
  return pieces;
}

}  // namespace

std::vector<Piece> split_from_end(Machine& machine, const StringObject& string,
                                  const StringObject* separator, int64_t count_max) {
  if (refuse_empty(machine, separator)) return {};
  const std::string_view view = string.text.view();
  if (separator) return split_backwards(machine, view, separator->text.view(), count_max);
  machine.read(view.size());
  std::vector<Piece> pieces;
  size_t end = view.size() - trailing_space(view);
  while (end > 0 && machine.hold(sizeof(Piece))) {
    const bool last = count_max >= 0 && static_cast<int64_t>(pieces.size()) >= count_max;
    size_t begin = last ? 0 : end;
    while (begin > 0) {
      const size_t before = previous_code_point(view, begin);
      if (is_space(read_code_point(view.substr(before)).value)) break;
      begin = before;
    }
    pieces.push_back({begin, end});
    end = begin - trailing_space(view.substr(0, begin));
  }
  std::ranges::reverse(pieces);
  return pieces;
}

Text replaced(Machine& machine, const Text& text, const Text& old, const Text& with,
              int64_t count_max) {
  Builder out(machine);
  const std::string_view view = text.view();
  machine.search(view.size());
  size_t copied = 0;
  size_t from = 0;
  for (int64_t count = 0; (count_max < 0 || count < count_max) && machine.step(); ++count) {
    const size_t at = find_text(view, old.view(), from);
    if (at == std::string_view::npos) break;
    out.add(text, copied, at);
    out.add(with);
    copied = at + old.size();
    from = copied;
    if (!old.empty()) continue;
    // An empty pattern is found before every code point and at the end.
    if (from == view.size()) break;
    from += static_cast<size_t>(read_code_point(view.substr(from)).length);
  }
  out.add(text, copied, view.size());
  return out.take();
}

Value padded(Machine& machine, const StringObject& string, int64_t width, const Text& fill,
             Align align) {
  const int64_t missing = width - string.length;
  if (missing <= 0) return Value::of(&string);
  if (!machine.may_hold_text(missing)) return {};
  // Python's centre puts the odd one on the left when the width is odd.
  int64_t left = align == Align::kRight ? missing : 0;
  if (align == Align::kCenter) left = missing / 2 + (missing & width & 1);
  Builder out(machine);
  out.add_repeated(fill, left);
  out.add(string.text);
  out.add_repeated(fill, missing - left);
  return make_string(machine, out.take(), string.markup);
}

namespace {

// map(code point, byte position, out) for every code point, in order.
template <class Map>
Value mapped(Machine& machine, const StringObject& string, Map map) {
  Builder out(machine);
  const char* start = string.text.view().data();
  string.text.each_run([&](std::string_view piece, Origin origin) {
    std::string changed;
    changed.reserve(piece.size());
    for (size_t i = 0; i < piece.size();) {
      const CodePoint point = read_code_point(piece.substr(i));
      map(point.value, static_cast<size_t>(piece.data() - start) + i, changed);
      i += static_cast<size_t>(point.length);
    }
    out.add(changed, origin);
  });
  machine.read(string.text.size());
  return make_string(machine, out.take(), string.markup);
}

}  // namespace

Value upper(Machine& machine, const StringObject& string) {
  return mapped(machine, string,
                [](uint32_t c, size_t, std::string& out) { append_upper(out, c); });
}

Value lower(Machine& machine, const StringObject& string) {
  const std::string_view view = string.text.view();
  return mapped(machine, string, [view](uint32_t, size_t position, std::string& out) {
    append_lower(out, view, position);
  });
}

Value folded(Machine& machine, const StringObject& string) {
  return mapped(machine, string,
                [](uint32_t c, size_t, std::string& out) { append_folded(out, c); });
}

Value capitalized(Machine& machine, const StringObject& string) {
  const std::string_view view = string.text.view();
  return mapped(machine, string, [view](uint32_t c, size_t position, std::string& out) {
    position == 0 ? append_title(out, c) : append_lower(out, view, position);
  });
}

Value swapped(Machine& machine, const StringObject& string) {
  const std::string_view view = string.text.view();
  return mapped(machine, string, [view](uint32_t c, size_t position, std::string& out) {
    is_upper(c) ? append_lower(out, view, position) : append_upper(out, c);
  });
}

Value titled(Machine& machine, const StringObject& string) {
  const std::string_view view = string.text.view();
  bool inside = false;
  return mapped(machine, string, [view, &inside](uint32_t c, size_t position, std::string& out) {
    inside ? append_lower(out, view, position) : append_title(out, c);
    inside = is_cased(c);
  });
}

Value titled_words(Machine& machine, const StringObject& string) {
  const std::string_view view = string.text.view();
  bool inside = false;
  return mapped(machine, string, [view, &inside](uint32_t c, size_t position, std::string& out) {
    const bool separates = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c);
    inside ? append_lower(out, view, position) : append_upper(out, c);
    inside = !separates;
  });
}

}  // namespace ration::jinja
