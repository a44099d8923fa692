// model/template/escape.h - how text is written down: literals in, repr, JSON and HTML out.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "model/template/machine.h"
#include "model/template/text.h"

namespace ration::jinja {

// The value of a string literal's body, by Python's rules: \n, \x41, \u00e9, \N is refused, an
// unknown escape keeps its backslash. kInvalid says what is wrong, without a line.
Result<std::string> unescape_literal(std::string_view body);

// Each adds `text` to `out`; what escaping adds belongs to whoever wrote the character escaped.
// Python's repr: quotes of origin `quotes`.
void add_repr(Builder& out, const Text& text, Origin quotes);
// JSON's string, as json.dumps writes it.
void add_json(Builder& out, const Text& text, Origin quotes, bool ascii_only);
// & < > ' " as HTML entities.
void add_html(Builder& out, const Text& text);

// Python's repr of a float: the shortest digits that read back the same.
std::string repr_float(double value);

}  // namespace ration::jinja
