// Methods of strings that make another string, or ask what kind of letters they have.
#include <fmt/core.h>

#include "base/text.h"
#include "model/template/methods.h"
#include "model/template/operations.h"
#include "model/template/render.h"
#include "model/template/strings.h"
#include "model/template/unicode.h"

namespace ration::jinja {

namespace {

using Change = Value (*)(Machine&, const StringObject&);

Value changed(Renderer& renderer, const Value& self, CallArguments& arguments, Change change) {
  const Bound bound(renderer.machine(), "a string's method", arguments, {});
  return change(renderer.machine(), self.string());
}

Value strip_with(Renderer& renderer, const Value& self, CallArguments& arguments, Sides sides) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "strip", arguments, {""});
  if (bound.has(0) && fail_if_undefined(machine, bound[0])) return {};
  const StringObject* chars = bound.string(0);
  return machine.failed() ? Value() : stripped(machine, self.string(), chars, sides);
}

Value pad_with(Renderer& renderer, const Value& self, CallArguments& arguments, Align align) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "a padding method", arguments, {"", ""}, 1);
  const int64_t width = bound.integer(0, 0);
  const StringObject* fill = bound.string(1);
  if (fill && fill->length != 1) machine.fail("the fill must be one character");
  if (machine.failed()) return {};
  return padded(machine, self.string(), width, fill ? fill->text : Text(" ", Origin::kTemplate),
                align);
}

// Every code point passes and there is one.
Value all_of(Renderer& renderer, const Value& self, CallArguments& arguments,
             bool (*passes)(uint32_t)) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "a string's test", arguments, {});
  std::string_view rest = self.text();
  machine.read(rest.size());
  if (rest.empty()) return Value::of(false);
  while (!rest.empty()) {
    const CodePoint point = read_code_point(rest);
    if (!passes(point.value)) return Value::of(false);
    rest.remove_prefix(static_cast<size_t>(point.length));
  }
  return Value::of(true);
}

Value without_affix(Renderer& renderer, const Value& self, CallArguments& arguments, bool at_end) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "removing an affix", arguments, {""}, 1);
  const StringObject* affix = bound.string(0);
  if (!machine.failed() && !affix) machine.fail("wanted a string to remove");
  if (machine.failed()) return {};
  const std::string_view view = self.text(), part = affix->text.view();
  if (at_end && view.ends_with(part)) {
    return piece_of(machine, self.string(), {0, view.size() - part.size()});
  }
  if (!at_end && view.starts_with(part)) {
    return piece_of(machine, self.string(), {part.size(), view.size()});
  }
  return self;
}

}  // namespace

Value method_capitalize(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return changed(renderer, self, arguments, capitalized);
}

Value method_casefold(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return changed(renderer, self, arguments, folded);
}

Value method_lower(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return changed(renderer, self, arguments, lower);
}

Value method_swapcase(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return changed(renderer, self, arguments, swapped);
}

Value method_title(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return changed(renderer, self, arguments, titled);
}

Value method_upper(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return changed(renderer, self, arguments, upper);
}

Value method_strip(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return strip_with(renderer, self, arguments, {});
}

Value method_lstrip(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return strip_with(renderer, self, arguments, {.left = true, .right = false});
}

Value method_rstrip(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return strip_with(renderer, self, arguments, {.left = false, .right = true});
}

Value method_center(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return pad_with(renderer, self, arguments, Align::kCenter);
}

Value method_ljust(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return pad_with(renderer, self, arguments, Align::kLeft);
}

Value method_rjust(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return pad_with(renderer, self, arguments, Align::kRight);
}

Value method_zfill(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "zfill", arguments, {""}, 1);
  const int64_t missing = bound.integer(0, 0) - self.string().length;
  if (machine.failed() || missing <= 0 || !machine.may_hold_text(missing)) return self;
  const std::string_view view = self.text();
  const size_t sign = view.starts_with('-') || view.starts_with('+') ? 1 : 0;
  Builder out(machine);
  out.add(self.string().text, 0, sign);
  out.add_repeated(Text("0", Origin::kTemplate), missing);
  out.add(self.string().text, sign, view.size());
  return make_string(machine, out.take(), self.string().markup);
}

Value method_expandtabs(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "expandtabs", arguments, {"tabsize"});
  const int64_t width = bound.integer(0, 8);
  if (machine.failed() || !machine.may_hold_text(width)) return {};
  const Text space(" ", Origin::kTemplate);
  Builder out(machine);
  const std::string_view view = self.text();
  machine.read(view.size());
  int64_t column = 0;
  for (size_t i = 0; i < view.size() && !machine.failed();) {
    const size_t end = i + static_cast<size_t>(read_code_point(view.substr(i)).length);
    if (view[i] == '\t') {
      const int64_t spaces = width > 0 ? width - column % width : 0;
      out.add_repeated(space, spaces);
      column += spaces;
    } else {
      out.add(self.string().text, i, end);
      column = view[i] == '\n' || view[i] == '\r' ? 0 : column + 1;
    }
    i = end;
  }
  return make_string(machine, out.take(), self.string().markup);
}

Value method_format(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return format_braces(renderer, self.string(), arguments);
}

Value method_join(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "join", arguments, {""}, 1);
  if (machine.failed()) return {};
  const bool markup = self.string().markup;
  Builder out(machine);
  Cursor cursor(machine, bound[0]);
  Value item;
  for (bool first = true; cursor.next(machine, item) && !machine.failed(); first = false) {
    if (!first) out.add(self.string().text);
    if (markup) item = escaped(machine, item);
    if (item.is_string()) {
      out.add(item.string().text);
    } else {
      machine.fail(fmt::format("join: found {}, wanted a string", type_name(item)));
    }
  }
  return make_string(machine, out.take(), markup);
}

Value method_replace(Renderer& renderer, const Value& self, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "replace", arguments, {"", "", ""}, 2);
  const StringObject* old = bound.string(0);
  const StringObject* with = bound.string(1);
  const int64_t count = bound.integer(2, -1);
  if (!machine.failed() && (!old || !with)) machine.fail("replace: wanted two strings");
  if (machine.failed()) return {};
  const bool markup = self.string().markup;
  const Value safe = markup ? escaped(machine, Value::of(with)) : Value::of(with);
  if (machine.failed()) return {};
  return make_string(
      machine, replaced(machine, self.string().text, old->text, safe.string().text, count), markup);
}

Value method_removeprefix(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return without_affix(renderer, self, arguments, /*at_end=*/false);
}

Value method_removesuffix(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return without_affix(renderer, self, arguments, /*at_end=*/true);
}

Value method_isalnum(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return all_of(renderer, self, arguments,
                [](uint32_t c) { return is_letter(c) || is_numeric(c); });
}

Value method_isalpha(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return all_of(renderer, self, arguments, is_letter);
}

Value method_isascii(Renderer& renderer, const Value& self, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "isascii", arguments, {});
  return Value::of(self.string().ascii());
}

Value method_isdigit(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return all_of(renderer, self, arguments, is_decimal);
}

Value method_isnumeric(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return all_of(renderer, self, arguments, is_numeric);
}

Value method_isspace(Renderer& renderer, const Value& self, CallArguments& arguments) {
  return all_of(renderer, self, arguments, is_space);
}

Value method_islower(Renderer& renderer, const Value& self, CallArguments& arguments) {
  CallArguments none;
  const Bound bound(renderer.machine(), "islower", arguments, {});
  return Value::of(apply_test(renderer, find_test("lower"), self, none));
}

Value method_isupper(Renderer& renderer, const Value& self, CallArguments& arguments) {
  CallArguments none;
  const Bound bound(renderer.machine(), "isupper", arguments, {});
  return Value::of(apply_test(renderer, find_test("upper"), self, none));
}

}  // namespace ration::jinja
