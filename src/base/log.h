// base/log.h - one line a fact, to standard error, for the person who runs the program.
#pragma once

#include <string_view>

namespace ration {

enum class Level : int { kQuiet, kError, kWarning, kInfo, kDebug };

// thread-safe. The level starts at RATION_LOG (quiet, error, warning, info, debug) or at warning.
void set_log_level(Level level);
Level log_level();

// Writes "ration: MESSAGE\n" (with "warning: " where it is one) in one write, so that lines of
// different threads do not mix. Control characters in the message are shown as \xNN.
void log(Level level, std::string_view message);

}  // namespace ration
