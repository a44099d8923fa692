// The global functions. To add one: write it, add its row.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/text.h"
#include "model/template/operations.h"
#include "model/template/render.h"
#include "model/template/tables.h"

namespace ration::jinja {

using Kind = Value::Kind;

namespace {

// dict(mapping or pairs, name=value ...).
void collect(Machine& machine, std::string_view callee, CallArguments& arguments, DictMaker& dict) {
  if (arguments.positional.size() > 1) {
    machine.fail(
        fmt::format("{} takes at most 1 argument, found {}", callee, arguments.positional.size()));
    return;
  }
  if (!arguments.positional.empty() && arguments.positional[0].is(Kind::kDict)) {
    for (const DictObject::Entry& entry : arguments.positional[0].dict().entries) {
      dict.put(entry.key, entry.value);
    }
  } else if (!arguments.positional.empty()) {
    Cursor cursor(machine, arguments.positional[0]);
    for (Value item; cursor.next(machine, item);) {
      const std::vector<Value> pair = elements_of(machine, item);
      if (pair.size() != 2) return machine.fail(fmt::format("{}: wanted pairs", callee));
      dict.put(pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.keywords) dict.put(Value::of(name), value);
}

Value function_dict(Renderer& renderer, CallArguments& arguments) {
  DictMaker dict(renderer.machine());
  collect(renderer.machine(), "dict", arguments, dict);
  return dict.take();
}

Value function_namespace(Renderer& renderer, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  DictMaker dict(machine);
  collect(machine, "namespace", arguments, dict);
  auto* space = machine.make<NamespaceObject>();
  const Value made = dict.take();
  for (const DictObject::Entry& entry : made.dict().entries) {
    // Attributes are strings; other keys could never be read back.
    if (entry.key.is_string()) space->attributes.emplace_back(&entry.key.string(), entry.value);
    if (!machine.hold(sizeof(entry))) break;
  }
  return Value::of(space);
}

Value function_range(Renderer& renderer, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  if (!arguments.keywords.empty()) machine.fail("range takes no keywords");
  const Bound bound(machine, "range", arguments, {"start", "stop", "step"}, 1);
  constexpr int64_t kFarthest = int64_t{1} << 40;
  constexpr int64_t kLongest = 100'000;  // the sandbox's limit
  const bool one = !bound.has(1);
  const int64_t start = one ? 0 : bound.integer(0, 0);
  const int64_t stop = bound.integer(one ? 0 : 1, 0);
  const int64_t step = bound.integer(2, 1);
  for (const int64_t part : {start, stop, step}) {
    if (part > kFarthest || part < -kFarthest) machine.fail("range: number too large");
  }
  if (step == 0) machine.fail("range: the step must not be zero");
  if (machine.failed()) return {};
  auto* range = machine.make<RangeObject>();
  range->start = start;
  range->stop = stop;
  range->step = step;
  const int64_t span = step > 0 ? stop - start : start - stop;
  const int64_t stride = step > 0 ? step : -step;
  range->length = span > 0 ? (span + stride - 1) / stride : 0;
  if (range->length > kLongest) machine.refuse("elements in a range", range->length, kLongest);
  return Value::of(range);
}

Value function_raise_exception(Renderer& renderer, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "raise_exception", arguments, {"message"}, 1);
  const Value message = to_str(machine, bound[0]);
  if (machine.failed()) return {};
  constexpr size_t kLongest = 1000;
  machine.fail(fmt::format("the template refuses: {}", message.text().substr(0, kLongest)));
  return {};
}

// Python's strftime on a time without a zone, in UTC.
Value function_strftime_now(Renderer& renderer, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "strftime_now", arguments, {"format"}, 1);
  const StringObject* given = bound.string(0);
  if (!given || machine.failed()) {
    machine.fail("strftime_now: wanted a format");
    return {};
  }
  constexpr size_t kLongest = 1000;
  if (given->text.size() > kLongest) machine.fail("strftime_now: the format is too long");
  std::string format;
  const std::string_view text = given->text.view();
  for (size_t i = 0; i < text.size() && !machine.failed(); ++i) {
    const char next = text[i] == '%' && i + 1 < text.size() ? text[i + 1] : '\0';
    if (next == 'f') format += "000000";
    if (next == 'f' || next == 'z' || next == 'Z') {
      ++i;  // there is no zone to print
      continue;
    }
    // A width would let a short format fill the buffer; Python's own rarely has one.
    if (next >= '0' && next <= '9') machine.fail("strftime_now: widths are not supported");
    format += text[i];
    if (next != '\0') format += text[++i];
  }
  const auto seconds = static_cast<std::time_t>(renderer.now());
  std::tm time{};
  if (machine.failed() || !gmtime_r(&seconds, &time)) return {};
  std::array<char, 16 * kLongest> buffer{};
  const size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &time);
  const Origin author = given->text.only_template() ? Origin::kTemplate : Origin::kUser;
  return make_string(machine, to_valid_utf8({buffer.data(), size}), author);
}

Value function_cycler(Renderer& renderer, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  if (arguments.positional.empty() || !arguments.keywords.empty()) {
    machine.fail("cycler: wanted at least one item");
    return {};
  }
  auto* cycler = machine.make<CyclerObject>();
  cycler->items = arguments.positional;
  return Value::of(cycler);
}

Value function_joiner(Renderer& renderer, CallArguments& arguments) {
  Machine& machine = renderer.machine();
  const Bound bound(machine, "joiner", arguments, {"sep"});
  auto* joiner = machine.make<JoinerObject>();
  joiner->separator = bound.has(0) ? bound[0] : make_string(machine, ", ");
  return Value::of(joiner);
}

Value function_lipsum(Renderer& renderer, CallArguments&) {
  renderer.machine().fail(Code::kUnsupported, "the function 'lipsum' is not supported");
  return {};
}

struct Row {
  std::string_view name;
  Value (*call)(Renderer&, CallArguments&);
};

constexpr std::array kFunctions{
    Row{"cycler", function_cycler},       Row{"dict", function_dict},
    Row{"joiner", function_joiner},       Row{"lipsum", function_lipsum},
    Row{"namespace", function_namespace}, Row{"raise_exception", function_raise_exception},
    Row{"range", function_range},         Row{"strftime_now", function_strftime_now},
};

}  // namespace

int find_function(std::string_view name) {
  const auto found = std::ranges::find(kFunctions, name, &Row::name);
  return found == kFunctions.end() ? -1 : static_cast<int>(found - kFunctions.begin());
}

Value call_function(Renderer& renderer, int row, CallArguments& arguments) {
  return kFunctions[static_cast<size_t>(row)].call(renderer, arguments);
}

}  // namespace ration::jinja
