// model/store/pull.h - brings the files of one model into the shelf. Private to the store.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/store/reference.h"
#include "model/store/shelf.h"
#include "model/store/store.h"

namespace ration {

// What a pull is to end with.
struct PullPlan {
  struct File {
    std::string name{};          // one path component
    Bytes bytes{-1};             // negative: not known before
    std::string sha256{};        // "": not known before
    std::string url{};           // "": by pip
    std::string token{};         // sent to the url's own host only
    std::string refusal_hint{};  // what to tell when the host refuses
  };
  std::string name{};  // of the manifest
  Reference reference{};
  std::string licence{};
  std::vector<File> files{};
};

// Fetches what is missing and writes the manifest; waits for another process that pulls the same.
// Errors as Store::pull.
Result<ResolvedModel> carry_out(const PullPlan& plan, const Shelf& shelf, const Disk& disk,
                                const Clock& clock, const PullOptions& options);

// Deletes what unfinished pulls of a reference left; the bytes that became free. `url_prefix`: also
// downloads from there ("": none). kUnavailable while one is under way.
Result<Bytes> drop_incoming(const PullPlan& plan, std::string_view url_prefix, const Shelf& shelf);

}  // namespace ration
