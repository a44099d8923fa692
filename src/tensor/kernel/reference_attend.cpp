// The yardstick's attention: softmax(scale * q.k) . v for one token, sums kept in double.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/kernel/sets.h"

namespace ration::reference {
namespace {

// Number i of the vector that belongs to `position`, keys or values by `offset`.
double cached(const AttendArguments& a, int64_t position, int64_t offset, int64_t i) {
  const std::byte* block = a.blocks[position / kKvBlockTokens] + offset;
  const int64_t index = (position % kKvBlockTokens) * a.head_size + i;
  if (a.type == KvType::kF32) {
    float number;
    std::memcpy(&number, block + index * 4, sizeof number);
    return static_cast<double>(number);
  }
  uint16_t half;
  std::memcpy(&half, block + index * 2, sizeof half);
  return static_cast<double>(f16_to_f32(half));
}

void attend_head(const AttendArguments& a, const float* query, float* scores, float* out) {
  float largest = -INFINITY;
  for (int64_t p = a.begin; p < a.end; ++p) {
    double dot = 0;
    for (int64_t i = 0; i < a.head_size; ++i) {
      dot += static_cast<double>(query[i]) * cached(a, p, a.key_offset, i);
    }
    double score = dot * static_cast<double>(a.scale);
    const double cap = static_cast<double>(a.softcap);
    if (cap > 0) score = cap * std::tanh(score / cap);
    scores[p - a.begin] = static_cast<float>(score);
    largest = std::max(largest, scores[p - a.begin]);
  }
  double total = 0;
  for (int64_t p = a.begin; p < a.end; ++p) {
    scores[p - a.begin] = std::exp(scores[p - a.begin] - largest);
    total += static_cast<double>(scores[p - a.begin]);
  }
  for (int64_t i = 0; i < a.head_size; ++i) {
    double sum = 0;
    for (int64_t p = a.begin; p < a.end; ++p) {
      sum += static_cast<double>(scores[p - a.begin]) * cached(a, p, a.value_offset, i);
    }
    out[i] = static_cast<float>(sum / total);
  }
}

}  // namespace

void attend(const AttendArguments& a) {
  DCHECK(a.begin >= 0 && a.begin < a.end);
  const int64_t positions = a.end - a.begin;
  for (int64_t head = 0; head < a.heads; ++head) {
    attend_head(a, a.query + head * a.head_size, a.scores + head * positions,
                a.out + head * a.head_size);
  }
}

}  // namespace ration::reference
