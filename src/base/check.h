// base/check.h - assertions about our own code. Input gets a Result, never one of these.
#pragma once

#include <string>

namespace ration {
// Prints "file:line: check failed: text (detail)" and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* text,
                               const std::string& detail = {});
}  // namespace ration

// Always on. The optional second argument is a std::string with the values involved.
#define CHECK(condition, ...)                                                            \
  do {                                                                                   \
    if (!(condition)) [[unlikely]]                                                       \
      ::ration::check_failed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)

// For inner loops: on in the dev, asan and tsan presets only.
#ifdef NDEBUG
#define DCHECK(condition, ...) static_cast<void>(0)
#else
#define DCHECK(condition, ...) CHECK(condition __VA_OPT__(, ) __VA_ARGS__)
#endif
