// model/store/fetch.h - a file from a web server, resumed and retried. Private to the store.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"
#include "model/store/partial.h"
#include "model/store/reporter.h"
#include "model/store/store.h"

namespace ration {

struct UrlJob {
  std::string url{};
  std::string token{};
  std::string refusal_hint{};  // added when the host refuses access
  Bytes bytes{-1};             // what the file must have; negative: not known
  bool content_known = false;  // the caller checks a hash afterwards: resuming is always safe
  std::function<Status(Bytes)> room{};  // whether so much more may be kept
  std::filesystem::path state{};  // the file that remembers url and validator of the partial file
  RetryPolicy retry{};
};

// Appends the whole file to `partial`, after what an earlier run left of it if the server can go on
// there and the file is still the same. Whatever breaks and may pass is tried again.
//   kNetwork, kNotFound, kOverBudget, kIo, kCancelled
Status fetch_by_url(const UrlJob& job, Partial& partial, Reporter& reporter);

}  // namespace ration
