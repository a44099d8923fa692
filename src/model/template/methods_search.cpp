// Methods of strings that look for something in them. Positions are code points, as in Python.
#include <fmt/core.h>

#include <algorithm>

#include "model/template/methods.h"
#include "model/template/render.h"
#include "model/template/search.h"
#include "model/template/strings.h"

namespace ration::jinja {

namespace {

// The part of a string between optional positions, in bytes.
struct Window {
  std::string_view text;
  size_t begin = 0;      // byte where `text` begins
  bool outside = false;  // the start lies beyond the end: nothing is found, not even ""
};

Window window_of(Machine& machine, const StringObject& string, const Bound& bound) {
  const int64_t length = string.length;
  const auto position = [&](size_t index, int64_t otherwise) {
    if (!bound.has(index) || bound[index].is_none()) return otherwise;
    const int64_t at = bound.integer(index, otherwise);
    return at < 0 ? std::max<int64_t>(0, at + length) : at;
  };
  const int64_t start = position(1, 0);
  const int64_t end = std::min(position(2, length), length);
  if (machine.failed() || start > end) return {{}, 0, true};
  const size_t begin = byte_offset(machine, string, start);
  const size_t stop = byte_offset(machine, string, end);
  machine.search(stop - begin);
  return {string.text.view().substr(begin, stop - begin), begin, false};
}

int64_t code_points_in(Machine& machine, std::string_view text) {
  machine.touch(text.size());
  return std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

// The code point where the argument is found, -1 when it is not.
int64_t position_of(Renderer& renderer, std::string_view name, const Value& self,
                    CallArguments& arguments, bool last) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, name, arguments, {"", "", ""}, 1);
  const StringObject* wanted = bound.string(0);
  if (!machine.failed() && !wanted) machine.fail(fmt::format("{}: wanted a string", name));
  if (machine.failed()) return -1;
  const Window window = window_of(machine, self.string(), bound);
  if (window.outside) return -1;
  const size_t found = last ? rfind_text(window.text, wanted->text.view())
                            : find_text(window.text, wanted->text.view());
  if (found == std::string_view::npos) return -1;
  return code_points_in(machine, self.text().substr(0, window.begin + found));
}

Value found_or_fail(Renderer& renderer, int64_t position) {
  if (position < 0) renderer.machine().fail("substring not found");
  return Value::of(position);
}

// startswith, endswith: one string or a tuple of them.
Value has_affix(Renderer& renderer, std::string_view name, const Value& self,
                CallArguments& arguments, bool at_end) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, name, arguments, {"", "", ""}, 1);
  if (machine.failed()) return {};
  const Window window = window_of(machine, self.string(), bound);
  const auto holds = [&](const Value& affix) {
    if (!affix.is_string()) {
      if (!fail_if_undefined(machine, affix)) {
        machine.fail(fmt::format("{}: found {}, wanted a string or a tuple of them", name,
                                 type_name(affix)));
      }
      return false;
    }
    machine.touch(affix.text().size());
    if (window.outside) return false;
    return at_end ? window.text.ends_with(affix.text()) : window.text.starts_with(affix.text());
  };
  if (!bound[0].is(Value::Kind::kTuple)) return Value::of(holds(bound[0]));
  return Value::of(std::ranges::any_of(bound[0].list().items, holds));
}

Value pieces_list(Machine& machine, const StringObject& string, const std::vector<Piece>& pieces) {
  std::vector<Value> parts;
  parts.reserve(pieces.size());
  for (const Piece piece : pieces) parts.push_back(piece_of(machine, string, piece));
  return make_list(machine, std::move(parts));
}

Value split_with(Renderer& renderer, const Value& self, CallArguments& arguments, bool from_end) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "split", arguments, {"sep", "maxsplit"});
  if (bound.has(0) && fail_if_undefined(machine, bound[0])) return {};
  const StringObject* separator = bound.string(0);
  const int64_t count = bound.integer(1, -1);
  if (machine.failed()) return {};
  const StringObject& string = self.string();
  return pieces_list(machine, string,
                     from_end ? split_from_end(machine, string, separator, count)
                              : split(machine, string, separator, count));
}

Value partition_with(Renderer& renderer, const Value& self, CallArguments& arguments,
                     bool from_end) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "partition", arguments, {""}, 1);
  const StringObject* separator = bound.string(0);
  if (!separator || separator->text.empty()) machine.fail("partition: wanted a separator");
  if (machine.failed()) return {};
  const StringObject& string = self.string();
  const std::string_view view = string.text.view();
  machine.search(view.size());
  const size_t at =
      from_end ? rfind_text(view, separator->text.view()) : find_text(view, separator->text.view());
  const Value empty = make_string(machine, "");
  if (at == std::string_view::npos) {
    return make_tuple(machine, from_end ? std::vector<Value>{empty, empty, self}
                                        : std::vector<Value>{self, empty, empty});
  }
  const size_t after = at + separator->text.size();
  return make_tuple(machine,
                    {piece_of(machine, string, {0, at}), piece_of(machine, string, {at, after}),
                     piece_of(machine, string, {after, view.size()})});
}

}  // namespace

Value method_find(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return Value::of(position_of(renderer, "find", self, arguments, /*last=*/false));
}

Value method_rfind(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return Value::of(position_of(renderer, "rfind", self, arguments, /*last=*/true));
}

Value method_index(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return found_or_fail(renderer, position_of(renderer, "index", self, arguments, false));
}

Value method_rindex(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return found_or_fail(renderer, position_of(renderer, "rindex", self, arguments, true));
}

Value method_count(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "count", arguments, {"", "", ""}, 1);
  const StringObject* wanted = bound.string(0);
  if (!machine.failed() && !wanted) machine.fail("count: wanted a string");
  if (machine.failed()) return {};
  const Window window = window_of(machine, self.string(), bound);
  if (window.outside) return Value::of(int64_t{0});
  if (wanted->text.empty()) return Value::of(code_points_in(machine, window.text) + 1);
  int64_t count = 0;
  for (size_t from = 0; machine.step();) {
    const size_t at = find_text(window.text, wanted->text.view(), from);
    if (at == std::string_view::npos) break;
    ++count;
    from = at + wanted->text.size();
  }
  return Value::of(count);
}

Value method_startswith(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return has_affix(renderer, "startswith", self, arguments, /*at_end=*/false);
}

Value method_endswith(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return has_affix(renderer, "endswith", self, arguments, /*at_end=*/true);
}

Value method_split(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return split_with(renderer, self, arguments, /*from_end=*/false);
}

Value method_rsplit(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return split_with(renderer, self, arguments, /*from_end=*/true);
}

Value method_splitlines(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "splitlines", arguments, {"keepends"});
  const bool keep = bound.flag(0, false);
  std::vector<Piece> pieces;
  for (const Line& line : lines_of(machine, self.string())) {
    pieces.push_back({line.text.begin, keep ? line.end : line.text.end});
  }
  return pieces_list(machine, self.string(), pieces);
}

Value method_partition(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return partition_with(renderer, self, arguments, /*from_end=*/false);
}

Value method_rpartition(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return partition_with(renderer, self, arguments, /*from_end=*/true);
}

}  // namespace ration::jinja
