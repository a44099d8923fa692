// The yardstick's attention: softmax(scale * q.k) . v over a segment, sums kept in double.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "tensor/kernel/sets.h"

namespace ration::reference {
namespace {

double half_at(const std::byte* halves, int64_t index) {
  uint16_t half;
  std::memcpy(&half, halves + index * 2, sizeof half);
  return static_cast<double>(f16_to_f32(half));
}

// Number `index` of the keys or values, by `offset`, of a block. Of int8 without its scale.
double cached(const AttendArguments& a, int64_t block, int64_t offset, int64_t index) {
  const std::byte* numbers = a.blocks[block] + offset;
  if (a.type == KvType::kInt8) return static_cast<double>(static_cast<int8_t>(numbers[index]));
  if (a.type == KvType::kF32) {
    float number;
    std::memcpy(&number, numbers + index * 4, sizeof number);
    return static_cast<double>(number);
  }
  return half_at(numbers, index);
}

double key_at(const AttendArguments& a, int64_t position, int64_t i) {
  const int64_t slot = position % kKvBlockTokens;
  const int64_t block = position / kKvBlockTokens;
  const double number = cached(a, block, a.key_offset, i * kKvBlockTokens + slot);
  if (a.type != KvType::kInt8) return number;
  return number * half_at(a.blocks[block] + a.key_offset + a.head_size * kKvBlockTokens, slot);
}

double value_at(const AttendArguments& a, int64_t position, int64_t i) {
  const int64_t slot = position % kKvBlockTokens;
  const int64_t block = position / kKvBlockTokens;
  const int64_t columns = attend_columns_of(a.head_size);
  const double number = cached(a, block, a.value_offset, slot * columns + i);
  if (a.type != KvType::kInt8) return number;
  return number * half_at(a.blocks[block] + a.value_offset + columns * kKvBlockTokens, slot);
}

double score(const AttendArguments& a, const float* query, int64_t position) {
  double dot = 0;
  for (int64_t i = 0; i < a.head_size; ++i) {
    dot += static_cast<double>(query[i]) * key_at(a, position, i);
  }
  const double scaled = dot * static_cast<double>(a.scale);
  const double cap = static_cast<double>(a.softcap);
  return cap > 0 ? cap * std::tanh(scaled / cap) : scaled;
}

void attend_row(const AttendArguments& a, int64_t row) {
  const int64_t token = row / a.heads;
  const float* query = a.query + token * a.query_stride + row % a.heads * a.head_size;
  const int64_t columns = attend_columns_of(a.head_size);
  const int64_t begin = std::max(a.begin, a.window > 0 ? a.position + token + 1 - a.window : 0);
  const int64_t end = a.sees_later ? a.end : std::min(a.end, a.position + token + 1);
  std::array<double, kAttendSegment> weights;
  double largest = -INFINITY;
  for (int64_t p = begin; p < end; ++p) {
    double& weight = weights[static_cast<size_t>(p - begin)];
    weight = score(a, query, p);
    largest = std::max(largest, weight);
  }
  // The maximum that is handed on is a float: the weights are relative to that one.
  a.largest[row] = static_cast<float>(largest);
  double total = 0;
  for (int64_t p = begin; p < end; ++p) {
    double& weight = weights[static_cast<size_t>(p - begin)];
    weight = std::exp(weight - static_cast<double>(a.largest[row]));
    total += weight;
  }
  a.total[row] = static_cast<float>(total);
  for (int64_t i = 0; i < columns; ++i) {
    double sum = 0;
    for (int64_t p = begin; p < end && i < a.head_size; ++p) {
      sum += weights[static_cast<size_t>(p - begin)] * value_at(a, p, i);
    }
    a.out[row * columns + i] = static_cast<float>(sum);
  }
}

}  // namespace

void attend(const AttendArguments& a) {
  DCHECK(a.begin % kKvBlockTokens == 0 && a.begin < a.end && a.end - a.begin <= kAttendSegment);
  for (int64_t row = 0; row < a.tokens * a.heads; ++row) attend_row(a, row);
}

}  // namespace ration::reference
