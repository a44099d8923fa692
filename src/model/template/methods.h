// model/template/methods.h - the methods of values, behind the table in methods.cpp. Parameters
// that Python takes by position only have no name here either.
#pragma once

#include "model/template/tables.h"
#include "model/template/value.h"

namespace ration::jinja {

using MethodCall = Value (*)(Renderer&, const Value& self, CallArguments&);

// methods_search.cpp: self is a string
Value method_count(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_endswith(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_find(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_index(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_partition(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_rfind(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_rindex(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_rpartition(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_rsplit(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_split(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_splitlines(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_startswith(Renderer& renderer, const Value& self, CallArguments& arguments);

// methods_text.cpp: self is a string
Value method_capitalize(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_casefold(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_center(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_expandtabs(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_format(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_isalnum(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_isalpha(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_isascii(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_isdigit(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_islower(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_isnumeric(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_isspace(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_isupper(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_join(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_ljust(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_lower(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_lstrip(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_removeprefix(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_removesuffix(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_replace(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_rjust(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_rstrip(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_strip(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_swapcase(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_title(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_upper(Renderer& renderer, const Value& self, CallArguments& arguments);
Value method_zfill(Renderer& renderer, const Value& self, CallArguments& arguments);

}  // namespace ration::jinja
