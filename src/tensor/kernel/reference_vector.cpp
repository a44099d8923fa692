// The yardstick's functions of one vector, and the table of the set.
#include <cmath>
#include <cstring>

#include "tensor/kernel/sets.h"

namespace ration {
namespace reference {
namespace {

void rms_norm(const float* x, const float* weight, float epsilon, int64_t n, float* out) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double mean = squares / static_cast<double>(n);
  const double factor = 1 / std::sqrt(mean + static_cast<double>(epsilon));
  for (int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(static_cast<double>(x[i]) * factor) * weight[i];
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, int64_t n,
                float* out) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  const double mean = sum / static_cast<double>(n);
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double off = static_cast<double>(x[i]) - mean;
    squares += off * off;
  }
  const double variance = squares / static_cast<double>(n);
  const double factor = 1 / std::sqrt(variance + static_cast<double>(epsilon));
  for (int64_t i = 0; i < n; ++i) {
    const double normed = (static_cast<double>(x[i]) - mean) * factor;
    out[i] =
        static_cast<float>(normed * static_cast<double>(weight[i]) + static_cast<double>(bias[i]));
  }
}

void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void silu_multiply(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(gate[i]);
    out[i] = static_cast<float>(x / (1 + std::exp(-x)) * static_cast<double>(up[i]));
  }
}

void gelu_multiply(const float* gate, const float* up, int64_t n, float* out) {
  const double root = std::sqrt(2 / 3.14159265358979323846);
  for (int64_t i = 0; i < n; ++i) {
    const double x = static_cast<double>(gate[i]);
    const double gelu = 0.5 * x * (1 + std::tanh(root * (x + 0.044715 * x * x * x)));
    out[i] = static_cast<float>(gelu * static_cast<double>(up[i]));
  }
}

void gelu(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double a = static_cast<double>(x[i]);
    out[i] = static_cast<float>(a / 2 * std::erfc(-a / std::sqrt(2.0)));
  }
}

void rotate(float* head, const float* cosines, const float* sines, int64_t pairs,
            bool interleaved) {
  for (int64_t i = 0; i < pairs; ++i) {
    float& first = head[interleaved ? 2 * i : i];
    float& second = head[interleaved ? 2 * i + 1 : i + pairs];
    const float a = first;
    const float b = second;
    first = a * cosines[i] - b * sines[i];
    second = a * sines[i] + b * cosines[i];
  }
}

void to_f16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = f32_to_f16(x[i]);
}

uint64_t read_probe(const std::byte* data, int64_t bytes) {
  uint64_t sum = 0;
  for (int64_t at = 0; at < bytes; at += 8) {
    uint64_t word;
    std::memcpy(&word, data + at, sizeof word);
    sum ^= word;
  }
  return sum;
}

constexpr int64_t kProbeOperations = 128;

int64_t multiply_probe(int64_t rounds) {
  int64_t sum = 0;
  for (int64_t i = 0; i < rounds * kProbeOperations / 2; ++i) {
    int weight = kProbeWeight;
    asm volatile("" : "+r"(weight));  // as if it had been read
    sum += weight * kProbeNumber;
  }
  return sum;
}

}  // namespace
}  // namespace reference

const Kernels kReferenceKernels{
    .isa = "reference",
    .layout = Layout::kRowMajor,
    .format_of = reference::format_of,
    .quantize = reference::quantize,
    .matmul = reference::matmul,
    .screen = reference::matmul,  // no bound is tighter
    .rms_norm = reference::rms_norm,
    .layer_norm = reference::layer_norm,
    .add = reference::add,
    .silu_multiply = reference::silu_multiply,
    .gelu_multiply = reference::gelu_multiply,
    .gelu = reference::gelu,
    .rotate = reference::rotate,
    .to_f16 = reference::to_f16,
    .attend = reference::attend,
    .probes = {reference::read_probe, reference::multiply_probe, reference::kProbeOperations},
};

}  // namespace ration
