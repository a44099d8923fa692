// model/store/quant.h - which of a repository's GGUF files is meant. Private to the store.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unit.h"

namespace ration {

struct RemoteFile {
  std::string path{};    // inside the repository
  Bytes bytes{-1};       // negative: not known
  std::string sha256{};  // "": not known
};

// A model as a repository offers it: one file, or all parts of a split one in order.
struct Variant {
  std::string quant{};  // upper case, "Q4_K_M"; "" when the name does not say
  std::vector<RemoteFile> files{};
};

// "dir/Model-UD-Q4_K_M-00001-of-00002.gguf" -> "UD-Q4_K_M"; "" when there is none.
std::string quant_of(std::string_view path);

// Lower is better for a CPU with little memory: Q4_K_M is 0.
int quant_rank(std::string_view quant);

// The models among a repository's files. Projectors, importance matrices and split files with
// missing parts are left out.
std::vector<Variant> find_variants(const std::vector<RemoteFile>& files);

// The one that is asked for; with neither quant nor file the best ranked.
// kNotFound lists what there is; kInvalid when several fit. `where` names the repository in
// messages.
Result<Variant> choose_variant(const std::vector<Variant>& variants, std::string_view quant,
                               std::string_view file, std::string_view where);

}  // namespace ration
