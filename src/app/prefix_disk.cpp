#include "app/prefix_disk.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/file.h"
#include "base/sha256.h"

namespace ration {

Result<std::unique_ptr<PrefixStore>> open_prefix_store(const Settings& settings, const Model& model,
                                                       const Kernels& kernels) {
  if (settings.prefix_disk == Bytes{0}) return std::unique_ptr<PrefixStore>();
  // What keys and values depend on: the file, how it is computed with, and how they are kept.
  std::string fingerprint =
      fmt::format("{} {} {} {} {}\n", RATION_VERSION, kernels.isa, settings.deep,
                  model.packed() != nullptr, kv_type_name(settings.kv));
  std::string names;
  for (const std::filesystem::path& path : model.file().paths()) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return io_error("look at", path, errno);
    fingerprint +=
        fmt::format("{} {}.{}\n", status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    names += std::filesystem::absolute(path).string() + "\n";
  }
  const Result<std::filesystem::path> cache = cache_folder();
  if (!cache) return cache.error();
  const Result<std::string> name = sha256_of(names + std::string(kv_type_name(settings.kv)));
  if (!name) return name.error();
  return PrefixStore::open({.folder = *cache / "prefixes" / name->substr(0, 16),
                            .bytes_max = settings.prefix_disk,
                            .fingerprint = std::move(fingerprint)});
}

}  // namespace ration
