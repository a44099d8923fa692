// model/template/unicode.h - what Python's str knows about code points: spaces, letters, cases.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ration::jinja {

bool is_space(uint32_t code_point);      // str.isspace, and what strip() removes
bool is_line_end(uint32_t code_point);   // where splitlines() breaks ("\r\n" is one break)
bool is_printable(uint32_t code_point);  // what repr() shows as it is
bool is_letter(uint32_t code_point);     // str.isalpha
bool is_decimal(uint32_t code_point);    // str.isdecimal
bool is_numeric(uint32_t code_point);    // str.isnumeric, nearly: the number categories
bool is_upper(uint32_t code_point);
bool is_lower(uint32_t code_point);
bool is_cased(uint32_t code_point);     // upper, lower or title case
bool starts_name(uint32_t code_point);  // str.isidentifier, first character
bool continues_name(uint32_t code_point);

// Full case mappings (one code point may become three), appended as UTF-8.
void append_upper(std::string& out, uint32_t code_point);
void append_title(std::string& out, uint32_t code_point);
void append_folded(std::string& out, uint32_t code_point);
// Of the code point at byte `position` of `text`: a sigma that ends a word has its own small form.
void append_lower(std::string& out, std::string_view text, size_t position);

// The length in bytes of the white space at the start (the end) of `text`.
size_t leading_space(std::string_view text);
size_t trailing_space(std::string_view text);

// The code point that ends at `end`: where it begins. REQUIRES: end > 0, valid UTF-8.
size_t previous_code_point(std::string_view text, size_t end);

}  // namespace ration::jinja
