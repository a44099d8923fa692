#include "model/template/machine.h"

#include <fmt/core.h>

namespace ration::jinja {

bool Machine::step(int64_t count) {
  steps_ += count;
  if (steps_ > limits_.steps_max) refuse("steps", steps_, limits_.steps_max);
  return !failed();
}

bool Machine::touch(size_t bytes) {
  constexpr size_t kBytesPerStep = 256;
  touched_bytes_ += bytes;
  if (touched_bytes_ < kBytesPerStep) return !failed();
  const size_t whole = touched_bytes_ / kBytesPerStep;
  touched_bytes_ %= kBytesPerStep;
  return step(static_cast<int64_t>(whole));
}

bool Machine::hold(size_t bytes) {
  held_bytes_ += static_cast<int64_t>(bytes);
  if (held_bytes_ > limits_.memory_bytes_max) {
    refuse("bytes of memory", held_bytes_, limits_.memory_bytes_max);
  }
  return touch(bytes);
}

bool Machine::may_hold_text(int64_t bytes) {
  if (bytes > limits_.output_bytes_max) {
    refuse("bytes of text", bytes, limits_.output_bytes_max);
  }
  return !failed();
}

void Machine::fail(Code code, std::string message) {
  if (failed()) return;
  if (line_ > 0) message = fmt::format("template line {}: {}", line_, message);
  error_ = Error{code, std::move(message)};
}

void Machine::refuse(std::string_view what, int64_t wanted, int64_t available) {
  if (failed()) return;
  fail(Code::kOverBudget, fmt::format("found {} {}, wanted at most {}", wanted, what, available));
  error_->shortfall = Shortfall{wanted, available};
}

void Machine::refuse_depth() { refuse("nested levels", depth_, depth_max()); }

void Builder::add_repeated(const Text& text, int64_t times) {
  constexpr size_t kBlockBytes = 4096;
  Text block = text;
  int64_t in_block = 1;
  while (2 * block.size() <= kBlockBytes && in_block <= times / 2) {
    const Text half = block;
    block.append(half);
    in_block *= 2;
  }
  for (; times >= in_block && growing(); times -= in_block) add(block);
  for (; times > 0 && growing(); --times) add(text);
}

bool Builder::may_grow(size_t bytes) {
  if (machine_.failed()) return false;
  machine_.may_hold_text(static_cast<int64_t>(text_.size() + bytes));
  machine_.hold(bytes);
  return !machine_.failed();
}

}  // namespace ration::jinja
