// The kinds of rotary scaling that published models use, as frequencies and one magnitude.
//
// Source    Su et al. 2021 (rotation); Chen et al. 2023 (linear); Peng et al. 2023 "YaRN",
//           sec. 3.2-3.4; Ding et al. 2024 "LongRoPE" (per-pair factors); Llama 3.1's factors
//           arrive as a tensor.
// Computes  frequency[i] = base^(-2i/rotated) / factor[i]; linear: / factor; yarn: a ramp between
//           both
// Departs   nothing
// Costs     a few hundred operations at load
// Proved    test/gate/tiny_gate_test.cpp
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/arch/reader.h"

namespace ration {

int64_t NetworkReader::rotated_pairs(const Network& network) {
  const int64_t rotated = int_or("rope.dimension_count", network.head_size, 2, network.head_size);
  if (rotated % 2 != 0) {
    fail({Code::kCorrupt, fmt::format("key '{}': found {}, wanted an even number",
                                      full_key("rope.dimension_count"), rotated)});
  }
  return rotated / 2;
}

Rope NetworkReader::plain_rope(const Network& network, bool interleaved, double base) {
  if (!(base > 0)) {
    fail({Code::kCorrupt, fmt::format("rope base: found {}, wanted a positive number", base)});
  }
  const int64_t pairs = rotated_pairs(network);
  Rope rope;
  rope.interleaved = interleaved;
  for (int64_t i = 0; i < pairs; ++i) {
    const double exponent = -static_cast<double>(i) / static_cast<double>(pairs);
    rope.frequencies.push_back(static_cast<float>(std::pow(base, exponent)));
  }
  return rope;
}

Rope NetworkReader::rope(Network& network, bool interleaved, double default_base) {
  const double base = float_or("rope.freq_base", default_base);
  Rope rope = plain_rope(network, interleaved, base);
  if (failed()) return rope;
  const std::string kind = string_or("rope.scaling.type", "linear");
  double factor = float_or("rope.scaling.factor", float_or("rope.scale_linear", 1));
  if (factor == 0) factor = 1;
  if (factor < 0) {
    fail({Code::kCorrupt, fmt::format("key '{}': found {}, wanted a positive number",
                                      full_key("rope.scaling.factor"), factor)});
  }
  const auto pairs = static_cast<int64_t>(rope.frequencies.size());
  if (const float* factors = optional_vector(network, "rope_freqs.weight", pairs)) {
    for (int64_t i = 0; i < pairs; ++i) rope.frequencies[static_cast<size_t>(i)] /= factors[i];
  }
  rope.magnitude = static_cast<float>(float_or("rope.scaling.attn_factor", 1));
  if (kind == "linear") {
    for (float& frequency : rope.frequencies) frequency /= static_cast<float>(factor);
  } else if (kind == "yarn") {
    apply_yarn(rope, network, base, factor);
  } else if (kind != "none" && kind != "longrope") {
    fail({Code::kUnsupported,
          fmt::format("rope scaling '{}': wanted none, linear, yarn or longrope", kind)});
  }
  // The factor tensors decide, not the kind: short-context files of the same family have neither.
  if (has_tensor("rope_factors_long.weight")) apply_longrope(rope, network);
  return rope;
}

void NetworkReader::apply_yarn(Rope& rope, const Network& network, double base, double factor) {
  const double original = static_cast<double>(
      int_or("rope.scaling.original_context_length", network.context_trained, 1, int64_t{1} << 31));
  const double beta_fast = float_or("rope.scaling.yarn_beta_fast", 32);
  const double beta_slow = float_or("rope.scaling.yarn_beta_slow", 1);
  if (!(beta_fast > 0) || !(beta_slow > 0) || !(base > 1)) {
    fail({Code::kCorrupt, fmt::format("yarn: found beta_fast {}, beta_slow {}, base {}, wanted "
                                      "positive betas and a base above 1",
                                      beta_fast, beta_slow, base)});
    return;
  }
  const double rotated = 2.0 * static_cast<double>(rope.frequencies.size());
  // The pair whose wavelength fits `turns` times into the original context.
  const auto pair_of = [&](double turns) {
    return rotated * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(base));
  };
  const double low = std::max(0.0, std::floor(pair_of(beta_fast)));
  const double high = std::min(rotated - 1, std::ceil(pair_of(beta_slow)));
  const double extrapolation = float_or("rope.scaling.yarn_ext_factor", 1);
  for (size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double place = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    const double kept = (1 - std::clamp(place, 0.0, 1.0)) * extrapolation;
    rope.frequencies[i] *= static_cast<float>((1 - kept) / factor + kept);
  }
  if (factor > 1) rope.magnitude *= static_cast<float>(1 + 0.1 * std::log(factor));
}

void NetworkReader::apply_longrope(Rope& rope, Network& network) {
  const auto pairs = static_cast<int64_t>(rope.frequencies.size());
  const float* short_factors = vector(network, "rope_factors_short.weight", pairs);
  const float* long_factors = vector(network, "rope_factors_long.weight", pairs);
  if (failed()) return;
  rope.long_frequencies = rope.frequencies;
  for (int64_t i = 0; i < pairs; ++i) {
    rope.frequencies[static_cast<size_t>(i)] /= short_factors[i];
    rope.long_frequencies[static_cast<size_t>(i)] /= long_factors[i];
  }
  rope.long_magnitude = rope.magnitude;
  rope.long_beyond =
      int_or("rope.scaling.original_context_length", network.context_trained, 1, int64_t{1} << 31);
}

}  // namespace ration
