// model/store/process.h - a program that is run for us, without a shell. Private to the store.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ration {

// Move-only; what still runs is stopped by the destructor. single-thread.
class Process {
 public:
  struct Options {
    std::vector<std::string> arguments{};  // the program first, looked up in PATH
    std::vector<std::pair<std::string, std::string>> environment{};  // added to or replacing ours
    int output = -1;     // descriptor for standard output; negative: /dev/null
    int errors = -1;     // the same for standard error
    int inherited = -1;  // one more descriptor to keep open, under the same number
  };
  // In a session of its own: Ctrl-C at the terminal reaches us alone. kNotFound when there is no
  // such program, kIo.
  static Result<Process> start(const Options& options);

  Process(Process&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Process& operator=(Process&&) = delete;
  ~Process() { stop(); }

  // -1 once it has ended.
  pid_t id() const { return id_; }
  // The exit code once it has ended, 128 + signal when it was killed.
  std::optional<int> poll();
  int wait();
  // Ends it and its children: politely, after two seconds by force.
  void stop();

 private:
  explicit Process(pid_t id) : id_(id) {}
  pid_t id_ = -1;
};

}  // namespace ration
