// measure/cgroup.h - what the control groups above this process allow it, version 1 and 2.
#pragma once

#include <optional>

#include "measure/measure.h"

namespace ration {

struct CgroupLimits {
  std::optional<Bytes> memory_limit;  // the least on the way to the root
  std::optional<Bytes> memory_used;   // of the group with that limit, without droppable file cache
  std::optional<double> cpus;         // the least quota on the way to the root
};
CgroupLimits read_cgroup_limits(const Files& files);

}  // namespace ration
