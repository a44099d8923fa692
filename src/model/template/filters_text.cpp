// Filters that make text. As in Jinja, most take any value and work on its str().
#include <fmt/core.h>

#include "base/text.h"
#include "model/template/escape.h"
#include "model/template/filters.h"
#include "model/template/operations.h"
#include "model/template/render.h"
#include "model/template/strings.h"
#include "model/template/unicode.h"

namespace ration::jinja {

namespace {

using Change = Value (*)(Machine&, const StringObject&);

Value changed(Renderer& renderer, std::string_view name, const Value& input,
              CallArguments& arguments, Change change) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, name, arguments, {});
  const Value text = to_str(machine, input);
  return machine.failed() ? Value() : change(machine, text.string());
}

}  // namespace

Value filter_capitalize(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return changed(renderer, "capitalize", input, arguments, capitalized);
}

Value filter_lower(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return changed(renderer, "lower", input, arguments, lower);
}

Value filter_upper(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return changed(renderer, "upper", input, arguments, upper);
}

Value filter_title(Renderer& renderer, const Value& input, CallArguments& arguments) {
  return changed(renderer, "title", input, arguments, titled_words);
}

Value filter_string(Renderer& renderer, const Value& input, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "string", arguments, {});
  return to_str(renderer.machine(), input);
}

Value filter_safe(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "safe", arguments, {});
  const Value text = to_str(machine, input);
  if (machine.failed() || text.string().markup) return text;
  Builder out(machine);
  out.add(text.string().text);
  return make_string(machine, out.take(), /*markup=*/true);
}

Value filter_escape(Renderer& renderer, const Value& input, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "escape", arguments, {});
  return escaped(renderer.machine(), input);
}

Value filter_forceescape(Renderer& renderer, const Value& input, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "forceescape", arguments, {});
  return escaped(renderer.machine(), to_plain_str(renderer.machine(), input));
}

Value filter_trim(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "trim", arguments, {"chars"});
  const Value text = to_str(machine, input);
  const StringObject* chars = bound.string(0);
  return machine.failed() ? Value() : stripped(machine, text.string(), chars, {});
}

Value filter_center(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "center", arguments, {"width"});
  const Value text = to_str(machine, input);
  const int64_t width = bound.integer(0, 80);
  if (machine.failed()) return {};
  return padded(machine, text.string(), width, Text(" ", Origin::kTemplate), Align::kCenter);
}

Value filter_replace(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "replace", arguments, {"old", "new", "count"}, 2);
  if (machine.failed()) return {};
  const int64_t count = bound.has(2) && !bound[2].is_none() ? bound.integer(2, -1) : -1;
  const Value text = to_str(machine, input);
  const Value old = to_str(machine, bound[0]);
  const Value with = to_str(machine, bound[1]);
  if (machine.failed()) return {};
  return make_string(
      machine, replaced(machine, text.string().text, old.string().text, with.string().text, count));
}

Value filter_join(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "join", arguments, {"d", "attribute"});
  const Value between = bound.has(0) ? to_str(machine, bound[0]) : make_string(machine, "");
  const AttributePath path(machine, bound.or_else(1, Value::none()));
  if (machine.failed()) return {};
  Builder out(machine);
  Cursor cursor(machine, input);
  Value item;
  for (bool first = true; cursor.next(machine, item); first = false) {
    if (!first) out.add(between.string().text);
    add_str(out, machine, path.follow(renderer, item));
  }
  return make_string(machine, out.take());
}

Value filter_format(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  if (!arguments.positional.empty() && !arguments.keywords.empty()) {
    machine.fail("format: found positional and keyword arguments, wanted one kind");
    return {};
  }
  const Value format = to_str(machine, input);
  if (machine.failed()) return {};
  if (arguments.keywords.empty()) {
    return format_percent(renderer, format.string(), make_tuple(machine, arguments.positional));
  }
  DictMaker values(machine);
  for (const auto& [name, value] : arguments.keywords) values.put(Value::of(name), value);
  return format_percent(renderer, format.string(), values.take());
}

Value filter_indent(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "indent", arguments, {"width", "first", "blank"});
  if (fail_if_undefined(machine, input)) return {};
  if (!input.is_string()) machine.fail("indent: wanted a string");
  const bool text_width = bound.has(0) && bound[0].is_string();
  const int64_t width = text_width ? 0 : bound.integer(0, 4);
  if (machine.failed() || !machine.may_hold_text(width)) return {};
  Text indent = text_width ? bound[0].string().text : Text();
  if (width > 0) indent.append(std::string(static_cast<size_t>(width), ' '), Origin::kTemplate);
  const bool blank = bound.flag(2, false);
  const StringObject& string = input.string();
  Builder out(machine);
  if (bound.flag(1, false)) out.add(indent);
  // Jinja adds a newline before it splits, so a line end at the end leaves an empty last line.
  std::vector<Line> lines = lines_of(machine, string);
  const size_t size = string.text.size();
  if (lines.empty() || lines.back().end != lines.back().text.end) {
    const bool half = !lines.empty() && string.text.view().ends_with('\r');
    if (!half) lines.push_back({{size, size}, size});
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto [begin, end] = lines[i].text;
    if (i > 0) out.add("\n", Origin::kTemplate);
    if (i > 0 && (blank || begin < end)) out.add(indent);
    out.add(string.text, begin, end);
  }
  return make_string(machine, out.take(), string.markup);
}

Value filter_truncate(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "truncate", arguments, {"length", "killwords", "end", "leeway"});
  if (fail_if_undefined(machine, input)) return {};
  const int64_t length = bound.integer(0, 255);
  const StringObject* given = bound.string(2);
  const Value dots = make_string(machine, "...");
  const int64_t leeway = bound.has(3) && !bound[3].is_none() ? bound.integer(3, 5) : 5;
  if (machine.failed()) return {};
  const StringObject& end = given ? *given : dots.string();
  if (length < end.length || leeway < 0) {
    machine.fail("truncate: the length is less than the end's, or the leeway negative");
    return {};
  }
  if (length_of(input).value_or(INT64_MAX) <= length + leeway) return input;
  if (!input.is_string()) {
    machine.fail("truncate: wanted a string");
    return {};
  }
  const StringObject& string = input.string();
  const Value kept =
      piece_of(machine, string, {0, byte_offset(machine, string, length - end.length)});
  Builder out(machine);
  const std::string_view view = kept.text();
  const size_t space = bound.flag(1, false) ? std::string_view::npos : view.rfind(' ');
  out.add(kept.string().text, 0, std::min(space, view.size()));
  out.add(end.text);
  return make_string(machine, out.take(), string.markup);
}

Value filter_wordcount(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "wordcount", arguments, {});
  const Value text = to_str(machine, input);
  if (machine.failed()) return {};
  std::string_view rest = text.text();
  machine.read(rest.size());
  int64_t words = 0;
  bool inside = false;
  while (!rest.empty()) {
    const CodePoint point = read_code_point(rest);
    const bool letter = point.value == '_' || is_letter(point.value) || is_numeric(point.value);
    if (letter && !inside) ++words;
    inside = letter;
    rest.remove_prefix(static_cast<size_t>(point.length));
  }
  return Value::of(words);
}

namespace {

// The two separators of json.dumps; nothing when they are no pair of strings.
bool read_separators(Machine& machine, const Value& pair, JsonStyle& style) {
  const std::vector<Value> parts = elements_of(machine, pair);
  if (machine.failed()) return false;
  if (parts.size() != 2 || !parts[0].is_string() || !parts[1].is_string()) {
    machine.fail("tojson: separators must be two strings");
    return false;
  }
  style.between_items = parts[0].text();
  style.after_key = parts[1].text();
  const auto wrote = [](const Value& part) { return part.string().text.only_template(); };
  if (!wrote(parts[0]) || !wrote(parts[1])) style.author = Origin::kUser;
  return true;
}

}  // namespace

Value filter_tojson(Renderer& renderer, const Value& input, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "tojson", arguments,
                    {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii_only = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  if (bound.has(1) && !bound[1].is_none()) {
    style.between_items = ",";
    if (bound[1].is_string()) {
      style.indent = bound[1].text();
      if (!bound[1].string().text.only_template()) style.author = Origin::kUser;
    } else {
      const int64_t width = std::max<int64_t>(0, bound.integer(1, 0));
      if (machine.failed() || !machine.may_hold_text(width)) return {};
      style.indent = std::string(static_cast<size_t>(width), ' ');
    }
  }
  if (bound.has(2) && !bound[2].is_none() && !read_separators(machine, bound[2], style)) return {};
  if (machine.failed()) return {};
  Builder out(machine);
  add_json(out, machine, input, style);
  return make_string(machine, out.take());
}

}  // namespace ration::jinja
