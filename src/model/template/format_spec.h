// model/template/format_spec.h - one formatted field: Python's format mini-language, which its
// printf-style formatting is mapped to as well.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "model/template/machine.h"
#include "model/template/value.h"

namespace ration::jinja {

struct FormatSpec {
  Text fill{" ", Origin::kTemplate};
  char align = '\0';  // < > ^ =
  char sign = '-';    // + - or space
  bool alternate = false;
  int64_t width = 0;
  char grouping = '\0';  // , or _
  int64_t precision = -1;
  char type = '\0';
};

// Fails on what is no spec. The fill keeps its author.
FormatSpec parse_format_spec(Machine& machine, const Text& text);

// format(value, spec); fails where Python does, and on locales and alternate forms.
void add_formatted(Builder& out, Machine& machine, const Value& value, const FormatSpec& spec);

// Within the width of `spec`.
void add_aligned(Builder& out, Machine& machine, const Text& text, const FormatSpec& spec,
                 char default_align);

}  // namespace ration::jinja
