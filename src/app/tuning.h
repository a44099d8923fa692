// app/tuning.h - how products walk panels fastest on this machine: measured once, kept as a small
// file in the cache folder.
//
// What is kept belongs to one processor, kernel set, number of threads and version of this program;
// a file of another, or one that is damaged, counts as none and is written anew. Where it cannot be
// written nothing is said: it is measured again another time. No result depends on any of it.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "measure/measure.h"
#include "tensor/dtype.h"

namespace ration {

// single-thread.
class Tuning {
 public:
  // What is known of this machine.
  static Tuning open(const Machine& machine, std::string_view isa, int threads);

  const std::map<DType, WalkChoice>& choices() const { return choices_; }
  // What is known of the type of these matrices. Measured now, and kept, where that is nothing and
  // they are enough to measure it on. REQUIRES: as measure_walk(), but for the size.
  Walk walk_for(std::span<const Matrix> matrices, const Kernels& kernels, Pool& pool,
                const Clock& clock);
  // Measures every type once more, on weights made up for it. kOverBudget, kIo.
  Status renew(const Kernels& kernels, Pool& pool, const Clock& clock, Budget& budget);

 private:
  Status save() const;
  std::string to_json() const;
  void read(std::string_view json);

  std::filesystem::path path_;  // "": there is no cache folder
  std::string key_;             // the machine, as a JSON object without its braces
  std::map<DType, WalkChoice> choices_;
};

// A JSON object by type; and lines for `ration doctor`.
void append_json(std::string& out, const Tuning& tuning);
std::string to_text(const Tuning& tuning);

}  // namespace ration
