#include "run/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "base/rng.h"
#include "base/text.h"

namespace ration {
namespace {

struct Shown {
  std::string text;
  std::string stop;
};

// The definition: the stop completed at the earliest byte, the longest of those; the text before
// it.
Shown naive(const std::string& bytes, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= bytes.size(); ++end) {
    const std::string_view seen(bytes.data(), end);
    std::optional<std::string> longest;
    for (const std::string& stop : stops) {
      if (stop.empty() || !seen.ends_with(stop)) continue;
      if (!longest || stop.size() > longest->size()) longest = stop;
    }
    if (longest) return {to_valid_utf8(seen.substr(0, end - longest->size())), *longest};
  }
  return {to_valid_utf8(bytes), ""};
}

// Bytes at the end of `text` that must wait: the longest beginning of a stop there, and before it
// an unfinished code point.
size_t must_wait(std::string_view text, const std::vector<std::string>& stops) {
  size_t waiting = 0;
  for (const std::string& stop : stops) {
    for (size_t length = std::min(stop.size(), text.size()); length > waiting; --length) {
      if (text.ends_with(std::string_view(stop).substr(0, length))) waiting = length;
    }
  }
  return waiting + incomplete_utf8_tail(text.substr(0, text.size() - waiting));
}

TEST(TextStream, passes_text_on_as_it_comes) {
  TextStream stream({});
  EXPECT_EQ(stream.add("Hello"), "Hello");
  EXPECT_EQ(stream.add(""), "");
  EXPECT_EQ(stream.add(" world"), " world");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.stop(), "");
}

TEST(TextStream, holds_a_code_point_until_it_is_whole) {
  TextStream stream({});
  EXPECT_EQ(stream.add("a\xf0\x9f"), "a");
  EXPECT_EQ(stream.add("\x98"), "");
  EXPECT_EQ(stream.add("\x80!"), "\xf0\x9f\x98\x80!");
  EXPECT_EQ(stream.add("\xe2\x82"), "");
  EXPECT_EQ(stream.finish(), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(TextStream, shows_bytes_that_are_no_text_as_replacement) {
  TextStream stream({});
  EXPECT_EQ(stream.add("\x80x"), "\xef\xbf\xbdx");
  EXPECT_EQ(stream.add("\xe2\x82"), "");
  EXPECT_EQ(stream.add("x"), "\xef\xbf\xbd\xef\xbf\xbdx");
}

TEST(TextStream, stops_across_tokens_and_shows_only_what_was_before) {
  TextStream stream({"\nUser:"});
  EXPECT_EQ(stream.add("Hi.\n"), "Hi.");
  EXPECT_EQ(stream.add("\n"), "\n");
  EXPECT_EQ(stream.add("Us"), "");
  EXPECT_EQ(stream.add("er: what"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.stop(), "\nUser:");
  EXPECT_EQ(stream.add("more"), "");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, releases_what_turns_out_to_be_no_stop) {
  TextStream stream({"aab"});
  EXPECT_EQ(stream.add("a"), "");
  EXPECT_EQ(stream.add("a"), "");
  EXPECT_EQ(stream.add("a"), "a");
  EXPECT_EQ(stream.add("c"), "aac");
  EXPECT_EQ(stream.add("aa"), "");
  EXPECT_EQ(stream.finish(), "aa");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStream, takes_the_stop_that_is_complete_first_and_the_longest_of_those) {
  TextStream first({"abcd", "bc"});
  EXPECT_EQ(first.add("xabcd"), "xa");
  EXPECT_EQ(first.stop(), "bc");
  TextStream longest({"bc", "abc", "c"});
  EXPECT_EQ(longest.add("xabc"), "x");
  EXPECT_EQ(longest.stop(), "abc");
}

TEST(TextStream, ignores_empty_stops) {
  TextStream stream({"", "."});
  EXPECT_EQ(stream.add("a"), "a");
  EXPECT_EQ(stream.add("."), "");
  EXPECT_EQ(stream.stop(), ".");
}

TEST(TextStream, shows_the_same_text_however_it_is_cut) {
  Rng rng(1);
  // Few letters, so that stops really occur and overlap; whole and cut code points among them.
  const std::vector<std::string> letters{
      "a", "b", "a", "b", "\n", "\xc3\xa9", "\xf0\x9f\x98\x80", "\xc3", "\xf0\x9f", "\x80", "\xff"};
  const auto random_text = [&](size_t length_max, size_t letters_max) {
    std::string out;
    for (uint64_t n = rng.below(length_max + 1); n > 0; --n) out += letters[rng.below(letters_max)];
    return out;
  };
  int stopped = 0;
  int held_back = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::string> stops;
    for (uint64_t n = rng.below(4); n > 0; --n) {
      // Some are cut inside a code point: no request has such, but nothing may break.
      stops.push_back(random_text(6, rng.below(8) == 0 ? letters.size() : 7));
    }
    const std::string bytes = random_text(40, letters.size());
    const Shown wanted = naive(bytes, stops);
    TextStream stream(stops);
    std::string shown;
    size_t begin = 0;
    while (begin < bytes.size()) {
      const size_t length = std::min<size_t>(bytes.size() - begin, 1 + rng.below(5));
      const std::string piece = stream.add(std::string_view(bytes).substr(begin, length));
      begin += length;
      ASSERT_TRUE(is_valid_utf8(piece));
      shown += piece;
      ASSERT_TRUE(wanted.text.starts_with(shown));
      if (stream.stopped()) continue;
      // Nothing waits longer than it must.
      const std::string_view seen(bytes.data(), begin);
      const size_t waiting = must_wait(seen, stops);
      ASSERT_EQ(shown, to_valid_utf8(seen.substr(0, begin - waiting)));
      held_back += waiting > 0 ? 1 : 0;
    }
    shown += stream.finish();
    ASSERT_EQ(shown, wanted.text);
    ASSERT_EQ(stream.stop(), wanted.stop);
    stopped += stream.stopped() ? 1 : 0;
  }
  EXPECT_GT(stopped, 3000);
  EXPECT_LT(stopped, 17'000);
  EXPECT_GT(held_back, 5000);
}

}  // namespace
}  // namespace ration
