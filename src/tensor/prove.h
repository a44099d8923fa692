// tensor/prove.h - does a kernel set compute on this machine what the reference computes? Private
// to the tensor room.
//
// Asked before a set is offered. Products of every type, from both layouts, in every arithmetic the
// set has, for one to nineteen tokens over rows and columns that fit no register, and every
// function of vectors. About 3 ms a set.
#pragma once

#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/cpu.h"
#include "tensor/kernels.h"

namespace ration {

// What the set gets wrong, or "".
std::string find_fault(const Kernels& kernels);

struct SetRow {
  const Kernels* kernels;
  bool (*supported)(const CpuBits& bits);
  // Asks the operating system for what the set needs; why it is refused, or "". nullptr: nothing.
  std::string (*prepare)();
};

// The sets of one machine, each proved when it is first asked for. thread-safe.
class ProvenSets {
 public:
  // rows: best first, the last is the reference and taken as it is. They outlive this.
  ProvenSets(std::span<const SetRow> rows, const CpuBits& bits);

  // The named set, or the best when `isa` is empty.
  Result<const Kernels*> choose(std::string_view isa);
  std::vector<const Kernels*> available();
  std::vector<RefusedKernels> refused();  // of those that were asked for so far

 private:
  struct Entry {
    const SetRow* row;
    bool asked = false;
    std::string fault;
  };
  bool is_right(Entry& entry);  // with mutex_ held

  std::mutex mutex_;
  std::vector<Entry> entries_;  // what the processor has
};

}  // namespace ration
