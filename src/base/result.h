// base/result.h - a value or an Error, for everything the world can do to us.
//
// Use: Result<Header> header = read_header(file); if (!header) return header.error();
// A broken invariant of our own is a CHECK, not a Result.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "base/check.h"

namespace ration {

enum class Code : uint8_t {
  kInvalid,      // an argument, request or option makes no sense
  kNotFound,     // no model, file, tensor or policy has that name
  kUnsupported,  // well-formed, but something we do not do
  kCorrupt,      // a file's content contradicts itself or ends too early
  kOverBudget,   // not enough of a stated budget: the shortfall is in the error
  kIo,           // the operating system refused (disk full, permission)
  kNetwork,      // a remote end refused, stalled, lied or vanished
  kCancelled,    // the caller asked to stop
  kDeadline,     // the time limit passed
  kUnavailable,  // cannot be served now, may be later
};

std::string_view code_name(Code code);

// What a refusal was short of, in the unit of the budget that refused (bytes for memory).
struct Shortfall {
  int64_t wanted = 0;     // what was asked for
  int64_t available = 0;  // what could still be had
  int64_t missing() const { return wanted - available; }
};

// message: lower case, no full stop, "found X, wanted Y".
struct [[nodiscard]] Error {
  Code code = Code::kInvalid;
  std::string message;
  std::optional<Shortfall> shortfall = std::nullopt;  // set by every kOverBudget
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& value() & {
    CHECK(*this, error().message);
    return std::get<0>(state_);
  }
  const T& value() const& {
    CHECK(*this, error().message);
    return std::get<0>(state_);
  }
  T&& value() && {
    CHECK(*this, error().message);
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: holds an error.
  const Error& error() const {
    CHECK(state_.index() == 1);
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_.has_value(); }
  const Error& error() const {
    CHECK(error_.has_value());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace ration
