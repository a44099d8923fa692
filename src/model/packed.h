// model/packed.h - the quantised matrices of a network in panels, as a file beside the model.
//
// Source: tensor/panel.h has the layout; the file is ours.
// Made once from the GGUF file, mapped ever after: the weights are resident once, whichever
// processes use them, and a start reads nothing. The numbers are those of the GGUF file, and so are
// the results. A head of 4 KiB says what it was made from; then come the matrices in the order in
// which the network uses them, each at a multiple of 64 bytes.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "base/pool.h"
#include "base/result.h"
#include "model/gguf.h"
#include "model/network.h"
#include "model/packed_name.h"

namespace ration {

// Where a model's packed file is looked for: beside it, or in the cache folder for models of others
// and in folders that cannot be written to.
std::filesystem::path packed_path_beside(const std::filesystem::path& model);
Result<std::filesystem::path> packed_path_in_cache(const std::filesystem::path& model);

// Whether weights that `packed` owns are as much to be trusted as those of their model: they are
// the model's owner's, this user's or root's. User ids.
constexpr bool trusted_owner(uint32_t packed, uint32_t model, uint32_t user) {
  return packed == model || packed == user || packed == 0;
}

// shared-const after open().
class PackedWeights {
 public:
  // Called with what is done of how much, many times a second; false stops.
  using Progress = std::function<bool(Bytes done, Bytes total)>;
  // Memory that build() takes beside the two mapped files.
  static constexpr Bytes kBuildBytes{8 * kMiB};

  // Maps the file at `path`. kNotFound; kCorrupt says why it has to be built again: it is damaged,
  // of another version, made from other weights, or belongs to somebody else. When the model's file
  // was only moved or touched, its content is hashed once more and the head is brought up to date.
  // The file's time of access becomes now, and it has a shared lock while this object lives.
  static Result<PackedWeights> open(const std::filesystem::path& path, const Gguf& source,
                                    const Network& network);
  // Writes the file under a temporary name, syncs and renames it. Whoever builds the same file at
  // the same time waits and uses the first one's. kOverBudget with the shortfall when the disk is
  // too full, kIo, kCancelled; then nothing is left behind.
  static Status build(const std::filesystem::path& path, const Gguf& source, const Network& network,
                      Pool& pool, const Progress& progress);
  // Whether there is anything to pack.
  static bool has_matrices(const Network& network);
  // The size of a network's packed file.
  static Bytes bytes_for(const Network& network);

  // From now on the network's quantised matrices are the packed ones, and its vectors copies, so
  // that of the model's file no page is needed but those of an embedding that is only looked up.
  // REQUIRES: the network that it was opened for; this object outlives it.
  void use_in(Network& network) const;
  // Has the walk of each type's panels chosen by `choose`.
  static void set_walks(Network& network,
                        const std::function<Walk(std::span<const Matrix>)>& choose);
  Bytes bytes() const { return Bytes{static_cast<int64_t>(file_.bytes().size())}; }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  std::unique_ptr<Descriptor> in_use_;
  MappedFile file_;
};

}  // namespace ration
