#include "base/log.h"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace ration {
namespace {

Level level_from_environment() {
  const char* text = std::getenv("RATION_LOG");
  const std::string_view name = text ? text : "warning";
  if (name == "quiet") return Level::kQuiet;
  if (name == "error") return Level::kError;
  if (name == "info") return Level::kInfo;
  if (name == "debug") return Level::kDebug;
  return Level::kWarning;
}

std::atomic<Level>& current_level() {
  static std::atomic<Level> level{level_from_environment()};
  return level;
}

}  // namespace

void set_log_level(Level level) { current_level() = level; }
Level log_level() { return current_level(); }

void log(Level level, std::string_view message) {
  if (level > log_level()) return;
  std::string line = "ration: ";
  if (level == Level::kWarning) line += "warning: ";
  if (level == Level::kError) line += "error: ";
  for (char c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      line += c;
    }
  }
  line += '\n';
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace ration
