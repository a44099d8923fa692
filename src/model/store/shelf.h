// model/store/shelf.h - the folder of pulled models: blobs by content, one manifest a name. Private
// to the store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unit.h"
#include "model/store/partial.h"
#include "model/store/store.h"

namespace ration {

struct Manifest {
  struct File {
    std::string name{};  // as it was called where it came from; one path component
    std::string sha256{};
    Bytes bytes{0};
  };
  std::string name{};
  std::string reference{};
  std::string licence{};
  int64_t pulled_unix_seconds = 0;
  std::vector<File> files{};  // more than one: parts of a split file, in order
};

// Takes a manifest's text apart; `where` names it. kCorrupt names the first key that is missing or
// wrong.
Result<Manifest> parse_manifest(std::string_view text, std::string_view where);

// thread-safe; every change holds the folder's index lock, so other processes see it whole.
class Shelf {
 public:
  explicit Shelf(std::filesystem::path home) : home_(std::move(home)) {}

  const std::filesystem::path& home() const { return home_; }
  std::filesystem::path blob(std::string_view sha256) const;
  std::filesystem::path incoming(std::string_view key, std::string_view ending) const;

  // nullopt when no manifest has that name; kCorrupt names file and field when it cannot be read.
  Result<std::optional<Manifest>> find(std::string_view name) const;
  // All that can be read, by name; broken ones are logged. Empty when nothing was ever pulled.
  Result<std::vector<Manifest>> all() const;

  // Whether every blob is there with its size.
  bool is_complete(const Manifest& manifest) const;
  ResolvedModel resolved(const Manifest& manifest) const;

  // Writes the manifest, replacing one of its name, and deletes blobs nobody names any more.
  Status put(const Manifest& manifest) const;
  // Deletes a manifest and its unshared blobs; the bytes that became free.
  Result<Bytes> remove(const Manifest& manifest) const;

 private:
  std::filesystem::path manifest_path(std::string_view name) const;
  std::filesystem::path parts_folder(std::string_view name) const;
  Status link_parts(const Manifest& manifest) const;
  Result<Bytes> drop_unused(const std::vector<Manifest::File>& files) const;

  std::filesystem::path home_{};
};

}  // namespace ration
