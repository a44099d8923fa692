// app/output.h - what the commands print with.
#pragma once

#include <string>
#include <string_view>

namespace ration {

// Writes all of it to standard output and flushes. False when the reader is gone (a closed pipe) or
// the disk is full.
bool print(std::string_view text);
// One line to standard error.
void note(std::string_view line);

// Escapes control characters of untrusted text except newline and tab, so that a model's answer
// cannot drive the terminal. As it is when standard output is not a terminal.
std::string for_terminal(std::string_view text);

}  // namespace ration
