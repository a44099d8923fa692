// "..." % values and "...".format(...). What the format says belongs to the format's author, what
// the values say to theirs.
#include <fmt/core.h>

#include "base/text.h"
#include "model/template/escape.h"
#include "model/template/format_spec.h"
#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

// printf-style. One object formats one text.
class Percent {
 public:
  Percent(Machine& machine, const Text& format, const Value& values)
      : machine_(machine), format_(format), values_(values), out_(machine_) {}

  Value run() {
    const std::string_view view = format_.view();
    while (at_ < view.size() && machine_.step()) {
      const size_t percent = std::min(view.find('%', at_), view.size());
      out_.add(format_, at_, percent);
      at_ = percent;
      if (at_ < view.size()) field();
    }
    const bool tuple = values_.is(Kind::kTuple);
    const size_t given = tuple ? values_.list().items.size() : 1;
    // Python counts neither mappings nor anything that could be one.
    const bool counted = tuple || values_.is_string() || values_.is_number() || values_.is_none();
    if (counted && used_ < given) machine_.fail("not all arguments were converted");
    return make_string(machine_, out_.take());
  }

 private:
  char peek() const { return at_ < format_.size() ? format_.view()[at_] : '\0'; }
  bool skip(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  Value next_value() {
    if (named_) return *named_;
    const bool tuple = values_.is(Kind::kTuple);
    const size_t given = tuple ? values_.list().items.size() : 1;
    if (used_ >= given) {
      machine_.fail("not enough arguments for the format");
      return {};
    }
    const size_t index = used_++;
    return tuple ? values_.list().items[index] : values_;
  }

  void read_name() {
    if (!skip('(')) return;
    const size_t end = format_.view().find(')', at_);
    if (end == std::string_view::npos || values_.is(Kind::kTuple) || values_.is_string()) {
      return machine_.fail("the format requires a mapping");
    }
    const Value name = make_string(machine_, format_.slice(at_, end));
    at_ = end + 1;
    const Value* found = values_.is(Kind::kDict) && name.is_string()
                             ? find(machine_, values_.dict(), name)
                             : nullptr;
    if (!found) return machine_.fail(fmt::format("the format's key is missing"));
    named_ = *found;
  }

  int64_t read_size() {
    if (skip('*')) {
      const Value value = next_value();
      CallArguments arguments;
      arguments.positional.push_back(value);
      return Bound(machine_, "format", arguments, {"width"}).integer(0, 0);
    }
    int64_t size = 0;
    while (peek() >= '0' && peek() <= '9' && machine_.may_hold_text(size)) {
      size = size * 10 + (format_.view()[at_++] - '0');
    }
    return size;
  }

  void field() {
    ++at_;  // the percent sign
    named_.reset();
    FormatSpec spec;
    read_name();
    bool zero = false;
    for (bool flags = true; flags;) {
      flags = false;
      if (skip('-')) flags = true, spec.align = '<';
      if (skip('+')) flags = true, spec.sign = '+';
      if (skip(' ')) flags = true, spec.sign = spec.sign == '+' ? '+' : ' ';
      if (skip('#')) flags = spec.alternate = true;
      if (skip('0')) flags = zero = true;
    }
    spec.width = read_size();
    if (spec.width < 0) spec.align = '<', spec.width = -spec.width;
    if (skip('.')) spec.precision = std::max<int64_t>(0, read_size());
    if (peek() == 'h' || peek() == 'l' || peek() == 'L') ++at_;
    constexpr int64_t kPrecisionMax = 1000;
    if (spec.precision > kPrecisionMax && peek() != 's') {
      machine_.refuse("digits", spec.precision, kPrecisionMax);
    }
    const char type = peek();
    if (machine_.failed()) return;
    ++at_;
    if (zero && spec.align == '\0' && type != 's' && type != 'r') {
      spec.align = '=';
      spec.fill = Text("0", Origin::kTemplate);
    }
    convert(type, spec);
  }

  void convert(char type, FormatSpec& spec) {
    switch (type) {
      case '%':
        return out_.add("%", format_.origin_at(at_ - 1));
      case 's':
      case 'r':
        return convert_text(next_value(), type == 'r', spec);
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X':
        spec.type = type == 'i' || type == 'u' ? 'd' : type;
        return convert_integer(next_value(), spec);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G': {
        spec.type = type;
        const Value value = next_value();
        if (!value.is_number()) return machine_.fail("the format requires a number");
        return add_formatted(out_, machine_, value, spec);
      }
      case 'a':
      case 'c':
        return machine_.fail(Code::kUnsupported, fmt::format("%{} is not supported", type));
      default:
        return machine_.fail("unsupported format character");
    }
  }

  void convert_text(const Value& value, bool repr, FormatSpec& spec) {
    if (machine_.failed()) return;
    Builder text(machine_);
    repr ? add_repr(text, machine_, value) : add_str(text, machine_, value);
    const StringObject string(text.take());
    const bool cut = spec.precision >= 0 && spec.precision < string.length;
    const size_t end = cut ? byte_offset(machine_, string, spec.precision) : string.text.size();
    add_aligned(out_, machine_, string.text.slice(0, end), spec, '>');
  }

  void convert_integer(const Value& value, FormatSpec& spec) {
    Value integer = value;
    if (value.is(Kind::kFloat) && spec.type == 'd') integer = truncated(machine_, value.real());
    if (machine_.failed() || !integer.is_integer()) {
      return machine_.fail("the format requires an integer");
    }
    if (spec.precision > 0) {
      return machine_.fail(Code::kUnsupported, "precision of integers is not supported");
    }
    spec.precision = -1;
    add_formatted(out_, machine_, integer, spec);
  }

  Machine& machine_;
  const Text& format_;
  const Value& values_;
  Builder out_;
  size_t at_ = 0;
  size_t used_ = 0;
  std::optional<Value> named_;
};

// str.format. One object formats one text.
class Braces {
 public:
  Braces(Renderer& renderer, CallArguments& arguments)
      : renderer_(renderer), machine_(renderer.machine()), arguments_(arguments) {}

  // `depth`: fields may hold fields in their specs, once.
  Text run(const Text& format, int depth) {
    Builder out(machine_);
    const std::string_view view = format.view();
    for (size_t at = 0; at < view.size() && machine_.step();) {
      const size_t brace = std::min(view.find_first_of("{}", at), view.size());
      out.add(format, at, brace);
      if (brace == view.size()) break;
      if (brace + 1 < view.size() && view[brace + 1] == view[brace]) {
        out.add(format, brace, brace + 1);
        at = brace + 2;
      } else if (view[brace] == '}') {
        machine_.fail("single '}' in the format");
      } else {
        const size_t end = end_of_field(view, brace + 1);
        if (machine_.failed()) break;
        field(out, format.slice(brace + 1, end), depth);
        at = end + 1;
      }
    }
    return out.take();
  }

 private:
  // The closing brace of the field that begins at `at`.
  size_t end_of_field(std::string_view view, size_t at) {
    int open = 1;
    for (; at < view.size(); ++at) {
      if (view[at] == '{') ++open;
      if (view[at] == '}' && --open == 0) return at;
    }
    machine_.fail("expected '}' before the end of the format");
    return view.size();
  }

  void field(Builder& out, const Text& content, int depth) {
    const std::string_view view = content.view();
    size_t name_end = 0;
    bool brackets = false;
    for (; name_end < view.size(); ++name_end) {
      if (view[name_end] == '[') brackets = true;
      if (view[name_end] == ']') brackets = false;
      if (!brackets && (view[name_end] == '!' || view[name_end] == ':')) break;
    }
    Value value = look_up(content.slice(0, name_end));
    size_t at = name_end;
    if (at < view.size() && view[at] == '!') {
      value = converted(value, at + 1 < view.size() ? view[at + 1] : '\0');
      at += 2;
      if (at < view.size() && view[at] != ':') machine_.fail("expected ':' after the conversion");
    }
    if (machine_.failed()) return;
    if (at + 1 >= view.size()) return add_str(out, machine_, value);
    Text spec = content.slice(at + 1, view.size());
    if (spec.view().find_first_of("{}") != std::string_view::npos) {
      if (depth > 0) return machine_.fail("the format is nested too deeply");
      spec = run(spec, depth + 1);
    }
    if (spec.empty()) return add_str(out, machine_, value);
    add_formatted(out, machine_, value, parse_format_spec(machine_, spec));
  }

  Value converted(const Value& value, char how) {
    if (how == 's') return to_str(machine_, value);
    if (how == 'a') machine_.fail(Code::kUnsupported, "the conversion !a is not supported");
    if (how != 'r') machine_.fail("unknown conversion in the format");
    Builder out(machine_);
    add_repr(out, machine_, value);
    return make_string(machine_, out.take());
  }

  static bool is_digits(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  }

  Value argument(std::string_view name) {
    if (!name.empty() && !is_digits(name)) {
      for (const CallArguments::Keyword& keyword : arguments_.keywords) {
        if (keyword.text() == name) return keyword.value;
      }
      machine_.fail(fmt::format("the format's '{:.40}' is missing", name));
      return {};
    }
    const bool automatic = name.empty();
    if (automatic ? numbered_ : next_ > 0) {
      machine_.fail("the format mixes automatic and given numbers");
    }
    numbered_ = numbered_ || !automatic;
    const std::optional<Value> given = automatic ? std::nullopt : parse_integer(machine_, name, 10);
    const size_t index = automatic                      ? next_++
                         : given && given->is_integer() ? static_cast<size_t>(given->wide())
                                                        : SIZE_MAX;
    if (index < arguments_.positional.size()) return arguments_.positional[index];
    machine_.fail("not enough arguments for the format");
    return {};
  }

  // name, name.attribute, name[index] and so on.
  Value look_up(const Text& path) {
    const std::string_view view = path.view();
    size_t at = std::min(view.find_first_of(".["), view.size());
    Value value = argument(view.substr(0, at));
    while (at < view.size() && !machine_.failed()) {
      const bool index = view[at] == '[';
      const size_t end =
          index ? view.find(']', at) : std::min(view.find_first_of(".[", at + 1), view.size());
      if (end == std::string_view::npos || end == at + 1) {
        machine_.fail("the format's field is malformed");
        return {};
      }
      const std::string_view text = view.substr(at + 1, end - at - 1);
      const Value name = make_string(machine_, path.slice(at + 1, end));
      const std::optional<Value> number =
          index && is_digits(text) ? parse_integer(machine_, text, 10) : std::nullopt;
      value = index ? renderer_.item(value, number ? *number : name)
                    : renderer_.attribute(value, name.string());
      at = index ? end + 1 : end;
      if (index && at < view.size() && view[at] != '.' && view[at] != '[') {
        machine_.fail("the format's field is malformed");
      }
    }
    return value;
  }

  Renderer& renderer_;
  Machine& machine_;
  CallArguments& arguments_;
  size_t next_ = 0;
  bool numbered_ = false;
};

bool refuse_markup(Machine& machine, const StringObject& format) {
  if (!format.markup) return false;
  machine.fail(Code::kUnsupported, "formatting a safe string is not supported");
  return true;
}

}  // namespace

Value format_percent(Renderer& renderer, const StringObject& format, const Value& values) {
  if (refuse_markup(renderer.machine(), format)) return {};
  return Percent(renderer.machine(), format.text, values).run();
}

Value format_braces(Renderer& renderer, const StringObject& format, CallArguments& arguments) {
  if (refuse_markup(renderer.machine(), format)) return {};
  Text text = Braces(renderer, arguments).run(format.text, 0);
  return make_string(renderer.machine(), std::move(text));
}

}  // namespace ration::jinja
