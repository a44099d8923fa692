// model/template/machine.h - what one render may still spend, what it owns, and why it stopped.
//
// A template is hostile until proven otherwise, so everything that grows goes through here: steps,
// bytes, nesting. The first failure sticks; code that runs on after it computes on undefined values
// until the nearest loop sees failed(), and its results are thrown away.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/template/template.h"
#include "model/template/text.h"

namespace ration::jinja {

// Whatever values point to. Owned by an arena until the render (or the program) ends, so values are
// plain pointers: no counting, no cycles, no deep destructors.
struct Object {
  virtual ~Object() = default;
};

class Arena {
 public:
  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    auto owned = std::make_unique<T>(std::forward<Arguments>(arguments)...);
    T* object = owned.get();
    objects_.push_back(std::move(owned));
    return object;
  }

 private:
  std::vector<std::unique_ptr<Object>> objects_;
};

// single-thread: one a render.
class Machine {
 public:
  explicit Machine(const TemplateLimits& limits) : limits_(limits) {}
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Work about as long as visiting `count` nodes. False once the limit is passed.
  bool step(int64_t count = 1);
  // Bytes looked at or copied; 256 of them count as one step.
  bool touch(size_t bytes);
  // Bytes decoded and looked at one code point after another: slower than copying them.
  bool read(size_t bytes) { return touch(16 * bytes); }
  // Bytes searched for a text.
  bool search(size_t bytes) { return touch(4 * bytes); }
  // Bytes that stay until the render ends. Includes touch().
  bool hold(size_t bytes);
  // Changes of author in a text: each costs an entry there and may cost a span of the prompt.
  bool hold_flips(size_t flips) { return flips == 0 || hold(flips * kFlipBytes); }
  // A text of that size is about to be made: refuses before the memory is taken.
  bool may_hold_text(int64_t bytes);

  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    hold(sizeof(T) + 2 * sizeof(void*));
    return arena_.make<T>(std::forward<Arguments>(arguments)...);
  }

  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }
  // Keep the first failure. The message gets the line of the statement in front.
  void fail(std::string message) { fail(Code::kInvalid, std::move(message)); }
  void fail(Code code, std::string message);
  void refuse(std::string_view what, int64_t wanted, int64_t available);

  const TemplateLimits& limits() const { return limits_; }
  void at_line(uint32_t line) { line_ = line; }
  uint32_t line() const { return line_; }

  // One level deeper into values or nodes, for as long as it lives.
  class Nested {
   public:
    explicit Nested(Machine& machine) : machine_(machine) {
      if (++machine.depth_ > machine.depth_max()) machine.refuse_depth();
    }
    ~Nested() { --machine_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Machine& machine_;
  };

 private:
  // A level of source nests several levels of evaluation: output, call, macro, loop, condition ...
  int64_t depth_max() const { return int64_t{8} * limits_.depth_max; }
  void refuse_depth();

  static constexpr size_t kFlipBytes = sizeof(size_t) + sizeof(PromptSpan);

  TemplateLimits limits_;
  Arena arena_;
  std::optional<Error> error_;
  int64_t steps_ = 0;
  int64_t held_bytes_ = 0;
  size_t touched_bytes_ = 0;  // not yet counted as steps
  int64_t depth_ = 0;
  uint32_t line_ = 0;
};

// Grows a text and stops growing when the machine refuses.
class Builder {
 public:
  explicit Builder(Machine& machine) : machine_(machine) {}

  void add(std::string_view bytes, Origin origin) {
    const size_t flips = text_.flips();
    if (may_grow(bytes.size())) text_.append(bytes, origin);
    machine_.hold_flips(text_.flips() - flips);
  }
  void add(const Text& text) { add(text, 0, text.size()); }
  void add(const Text& text, size_t begin, size_t end) {
    const size_t flips = text_.flips();
    if (may_grow(end - begin)) text_.append(text, begin, end);
    machine_.hold_flips(text_.flips() - flips);
  }
  // Nothing when `times` is not positive.
  void add_repeated(const Text& text, int64_t times);
  size_t size() const { return text_.size(); }
  const Text& text() const { return text_; }
  bool growing() const { return !machine_.failed(); }
  void read(size_t bytes) { machine_.read(bytes); }
  Text take() { return std::exchange(text_, Text{}); }

 private:
  bool may_grow(size_t bytes);

  Machine& machine_;
  Text text_;
};

}  // namespace ration::jinja
