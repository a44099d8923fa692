#include "base/result.h"

#include <cstdio>
#include <cstdlib>

namespace ration {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "invalid";
    case Code::kNotFound:
      return "not found";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kOverBudget:
      return "over budget";
    case Code::kIo:
      return "input/output";
    case Code::kNetwork:
      return "network";
    case Code::kCancelled:
      return "cancelled";
    case Code::kDeadline:
      return "deadline";
    case Code::kUnavailable:
      return "unavailable";
  }
  return "unknown";
}

void check_failed(const char* file, int line, const char* text, const std::string& detail) {
  std::fprintf(stderr, "%s:%d: check failed: %s%s%s%s\n", file, line, text,
               detail.empty() ? "" : " (", detail.c_str(), detail.empty() ? "" : ")");
  std::abort();
}

}  // namespace ration
