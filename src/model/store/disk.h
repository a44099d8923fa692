// model/store/disk.h - what Ration keeps on the disk, and the limit on it.
//
// Counted is all below the store's folder (models, unfinished pulls, packed weights), and packed
// weights beside models of the user's own: a link in packed/ remembers each. Two processes that
// fetch at the same time may pass the limit together: each counts what is there when it begins.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unit.h"

namespace ration {

struct DiskUse {
  Bytes models{0};  // whole and unfinished, of the store
  Bytes packed{0};  // can be removed at any time: the next use of the model makes them again
  Bytes total() const { return models + packed; }
};

// thread-safe
class Disk {
 public:
  // `home` is the store's folder. No limit: all that the disk has.
  explicit Disk(std::filesystem::path home, std::optional<Bytes> limit = std::nullopt)
      : home_(std::move(home)), limit_(limit) {}

  const std::optional<Bytes>& limit() const { return limit_; }
  DiskUse use() const;
  // What the limit leaves when everything that may be removed is; none without a limit.
  std::optional<Bytes> room() const;

  // Lets `wanted` bytes more be kept for `what`: packed weights are removed, least recently used
  // first, until there is room. Never one that a process has open, nor the one at `keep`, nor one
  // of another user's, nor any other file. kOverBudget with the shortfall, and then nothing is
  // removed.
  Status make_room(Bytes wanted, std::string_view what,
                   const std::filesystem::path& keep = {}) const;

  // Counts packed weights that lie outside the store's folder from now on.
  void remember(const std::filesystem::path& packed) const;

 private:
  std::vector<std::filesystem::path> packed_files() const;

  std::filesystem::path home_;
  std::optional<Bytes> limit_;
};

}  // namespace ration
