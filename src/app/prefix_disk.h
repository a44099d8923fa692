// app/prefix_disk.h - where beginnings of conversations with a model are kept on the disk.
#pragma once

#include <memory>

#include "app/settings.h"
#include "model/model.h"
#include "run/run.h"

namespace ration {

// The store of --prefix-disk for this model as this machine computes it, in
// ~/.cache/ration/prefixes; null without that option. Two programs that use one model at once each
// have what the other wrote before they started.
Result<std::unique_ptr<PrefixStore>> open_prefix_store(const Settings& settings, const Model& model,
                                                       const Kernels& kernels);

}  // namespace ration
