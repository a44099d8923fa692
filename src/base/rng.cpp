#include "base/rng.h"

#include <sys/random.h>

#include "base/check.h"

namespace ration {

uint64_t random_seed() {
  uint64_t seed = 0;
  CHECK(::getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return seed;
}

}  // namespace ration
