// base/unit.h - the five things that can be spent, as types that do not mix.
//
// Across module borders a quantity is one of these, never a bare number. Each is a struct with one
// field so that a plain aggregate works: Bytes{4096}, and arithmetic stays inside the unit.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ration {

// One definition for the arithmetic all units share. Number is int64_t or double.
template <class Unit, class Number>
struct Quantity {
  Number count = 0;

  friend constexpr auto operator<=>(const Quantity&, const Quantity&) = default;
  friend constexpr Unit operator+(Unit a, Unit b) { return Unit{a.count + b.count}; }
  friend constexpr Unit operator-(Unit a, Unit b) { return Unit{a.count - b.count}; }
  friend constexpr Unit operator*(Unit a, Number n) { return Unit{a.count * n}; }
  friend constexpr Unit& operator+=(Unit& a, Unit b) { return a = a + b; }
  friend constexpr Unit& operator-=(Unit& a, Unit b) { return a = a - b; }
};

struct Bytes : Quantity<Bytes, int64_t> {};
struct Joules : Quantity<Joules, double> {};
struct Millis : Quantity<Millis, double> {};
struct Dollars : Quantity<Dollars, double> {};

inline constexpr int64_t kKiB = 1024;
inline constexpr int64_t kMiB = 1024 * kKiB;
inline constexpr int64_t kGiB = 1024 * kMiB;

// "300MB", "1.5 GiB", "4096", "2g" -> bytes. KB, MB, GB, TB are powers of 1000; KiB, MiB, GiB, TiB
// powers of 1024; a bare letter means the power of 1024. kInvalid names what was found.
Result<Bytes> parse_bytes(std::string_view text);

// "250ms", "3 s", "2m", "1.5" (seconds) -> milliseconds. kInvalid names what was found.
Result<Millis> parse_millis(std::string_view text);

// Three significant digits with a unit: "98.4 MB", "1.12 GB", "512 B". Powers of 1000.
std::string to_text(Bytes bytes);

}  // namespace ration
