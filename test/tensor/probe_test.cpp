#include <gtest/gtest.h>

#include <vector>

#include "sets.h"

namespace ration {
namespace {

class Probe : public testing::TestWithParam<samples::NamedSet> {
 protected:
  const Probes& probes() const { return GetParam().kernels->probes; }
};

TEST_P(Probe, reads_every_word) {
  for (int64_t words : {0, 1, 7, 8, 31, 32, 33, 64, 1000, 4099}) {
    std::vector<uint64_t> data(static_cast<size_t>(words));
    uint64_t folded = 0;
    uint64_t next = 1;
    for (uint64_t& word : data) {
      word = next *= 0x9e3779b97f4a7c15;
      folded ^= word;
    }
    EXPECT_EQ(probes().read(reinterpret_cast<const std::byte*>(data.data()), 8 * words), folded)
        << words;
  }
}

TEST_P(Probe, multiplies_as_often_as_it_says) {
  ASSERT_GT(probes().operations_a_round, 0);
  for (int64_t rounds : {int64_t{0}, int64_t{1}, int64_t{1000}}) {
    EXPECT_EQ(probes().multiply(rounds),
              rounds * probes().operations_a_round / 2 * kProbeWeight * kProbeNumber);
  }
}

TEST_P(Probe, does_not_overflow_in_as_many_rounds_as_are_allowed) {
  EXPECT_EQ(probes().multiply(kProbeRoundsMax),
            kProbeRoundsMax * probes().operations_a_round / 2 * kProbeWeight * kProbeNumber);
}

INSTANTIATE_TEST_SUITE_P(Sets, Probe, testing::ValuesIn(samples::all_sets()),
                         [](const auto& set) { return set.param.name; });

}  // namespace
}  // namespace ration
