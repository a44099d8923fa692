// model/template/filters.h - the filters, behind the table in filters.cpp.
#pragma once

#include "model/template/tables.h"
#include "model/template/value.h"

namespace ration::jinja {

// filters_text.cpp
Value filter_capitalize(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_center(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_escape(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_forceescape(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_format(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_indent(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_join(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_lower(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_replace(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_safe(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_string(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_title(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_tojson(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_trim(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_truncate(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_upper(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_wordcount(Renderer& renderer, const Value& input, CallArguments& arguments);

// filters_number.cpp
Value filter_abs(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_float(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_int(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_round(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_sum(Renderer& renderer, const Value& input, CallArguments& arguments);

// filters_list.cpp
Value filter_batch(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_first(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_items(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_last(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_length(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_list(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_map(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_reject(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_rejectattr(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_reverse(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_select(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_selectattr(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_slice(Renderer& renderer, const Value& input, CallArguments& arguments);

// What a lazy filter gives for something that cannot be walked: the failure comes when it is.
Value not_iterable(Machine& machine, const Value& input);

// filters_order.cpp
Value filter_dictsort(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_groupby(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_max(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_min(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_sort(Renderer& renderer, const Value& input, CallArguments& arguments);
Value filter_unique(Renderer& renderer, const Value& input, CallArguments& arguments);

// What `attribute=` arguments name: "a.b.0", an index, or nothing (the item itself).
class AttributePath {
 public:
  AttributePath(Machine& machine, const Value& attribute);
  // A part that is undefined becomes *otherwise, when there is one.
  Value follow(Renderer& renderer, Value item, const Value* otherwise = nullptr) const;

 private:
  std::vector<Value> parts_;
};

}  // namespace ration::jinja
