// The table of filters. To add one: declare it in filters.h, write it beside its kin, add its row.
#include "model/template/filters.h"

#include <algorithm>
#include <array>

#include "model/template/operations.h"
#include "model/template/render.h"

namespace ration::jinja {
namespace {

Value filter_attr(Renderer& renderer, const Value& input, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "attr", arguments, {"name"}, 1);
  const StringObject* name = bound.string(0);
  if (!name || fail_if_undefined(renderer.machine(), input)) return {};
  const std::optional<Value> found = renderer.own_attribute(input, *name);
  return found ? *found : Value::undefined(Missing::kAttribute, name, input.kind());
}

Value filter_default(Renderer& renderer, const Value& input, CallArguments& arguments) {
  const Bound bound(renderer.machine(), "default", arguments, {"default_value", "boolean"});
  const bool replace = input.is_undefined() || (bound.flag(1, false) && !truthy(input));
  if (!replace) return input;
  return bound.has(0) ? bound[0] : make_string(renderer.machine(), "");
}

using Filter = Value (*)(Renderer&, const Value&, CallArguments&);

struct Row {
  std::string_view name;
  Filter apply;
};

constexpr std::array kFilters{
    Row{"abs", filter_abs},
    Row{"attr", filter_attr},
    Row{"batch", filter_batch},
    Row{"capitalize", filter_capitalize},
    Row{"center", filter_center},
    Row{"count", filter_length},
    Row{"d", filter_default},
    Row{"default", filter_default},
    Row{"dictsort", filter_dictsort},
    Row{"e", filter_escape},
    Row{"escape", filter_escape},
    Row{"first", filter_first},
    Row{"float", filter_float},
    Row{"forceescape", filter_forceescape},
    Row{"format", filter_format},
    Row{"groupby", filter_groupby},
    Row{"indent", filter_indent},
    Row{"int", filter_int},
    Row{"items", filter_items},
    Row{"join", filter_join},
    Row{"last", filter_last},
    Row{"length", filter_length},
    Row{"list", filter_list},
    Row{"lower", filter_lower},
    Row{"map", filter_map},
    Row{"max", filter_max},
    Row{"min", filter_min},
    Row{"reject", filter_reject},
    Row{"rejectattr", filter_rejectattr},
    Row{"replace", filter_replace},
    Row{"reverse", filter_reverse},
    Row{"round", filter_round},
    Row{"safe", filter_safe},
    Row{"select", filter_select},
    Row{"selectattr", filter_selectattr},
    Row{"slice", filter_slice},
    Row{"sort", filter_sort},
    Row{"string", filter_string},
    Row{"sum", filter_sum},
    Row{"title", filter_title},
    Row{"tojson", filter_tojson},
    Row{"trim", filter_trim},
    Row{"truncate", filter_truncate},
    Row{"unique", filter_unique},
    Row{"upper", filter_upper},
    Row{"wordcount", filter_wordcount},
};

constexpr std::array<std::string_view, 8> kUnsupported = {"filesizeformat", "pprint",    "random",
                                                          "striptags",      "urlencode", "urlize",
                                                          "wordwrap",       "xmlattr"};

}  // namespace

int find_filter(std::string_view name) {
  const auto found = std::ranges::find(kFilters, name, &Row::name);
  return found == kFilters.end() ? -1 : static_cast<int>(found - kFilters.begin());
}

bool unsupported_filter(std::string_view name) {
  return std::ranges::find(kUnsupported, name) != kUnsupported.end();
}

Value apply_filter(Renderer& renderer, int row, const Value& input, CallArguments& arguments) {
  if (!renderer.machine().step()) return {};
  return kFilters[static_cast<size_t>(row)].apply(renderer, input, arguments);
}

}  // namespace ration::jinja
