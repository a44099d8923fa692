// app/exit_code.h - how the programs end. Documented in --help and the README from this table.
#pragma once

#include <array>
#include <string_view>

#include "base/result.h"

namespace ration {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kUsage = 2,
  kOverBudgetExit = 3,
  kBadFile = 4,
  kNetworkExit = 5,
  kInterrupted = 130,
};

struct ExitRow {
  ExitCode code;
  std::string_view meaning;
};

inline constexpr std::array kExitRows{
    ExitRow{kDone, "done"},
    ExitRow{kFailed, "failed for another reason (disk, permission, internal)"},
    ExitRow{kUsage, "wrong usage: unknown command, option, model name or request"},
    ExitRow{kOverBudgetExit, "over budget: the message says what was short"},
    ExitRow{kBadFile, "bad input file: corrupt, truncated or not supported"},
    ExitRow{kNetworkExit, "network: unreachable, stalled, or wrong content"},
    ExitRow{kInterrupted, "interrupted"},
};

constexpr ExitCode exit_code_of(Code code) {
  switch (code) {
    case Code::kInvalid:
    case Code::kNotFound:
      return kUsage;
    case Code::kOverBudget:
      return kOverBudgetExit;
    case Code::kUnsupported:
    case Code::kCorrupt:
      return kBadFile;
    case Code::kNetwork:
      return kNetworkExit;
    case Code::kCancelled:
      return kInterrupted;
    case Code::kIo:
    case Code::kDeadline:
    case Code::kUnavailable:
      return kFailed;
  }
  return kFailed;
}

}  // namespace ration
