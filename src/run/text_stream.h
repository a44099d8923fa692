// run/text_stream.h - the tokens of one answer as text that is safe to show.
//
// Holds back what cannot be shown yet: a cut code point, and anything that may still turn out to be
// the beginning of a stop string. What comes out in all does not depend on how the text was cut
// into tokens. Private to run/; run/run.h hands it on.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ration {

// single-thread: one object an answer.
class TextStream {
 public:
  // The stop that counts is the one completed first; of several completed at the same byte the
  // longest. Empty ones never match.
  explicit TextStream(std::vector<std::string> stops);

  // Adds the bytes of one token; returns the text that may be shown now: valid UTF-8, maybe empty.
  // A byte that is part of no code point becomes U+FFFD. The text before a stop string comes out
  // with the token that completes it; after that nothing more does.
  std::string add(std::string_view bytes);
  // The answer is over: what was held back. Cut code points become U+FFFD.
  std::string finish();

  bool stopped() const { return stop_ >= 0; }
  // The stop string that was met; "" when none was.
  std::string_view stop() const;

 private:
  struct Stop {
    std::string text;
    // fallback[n]: when n bytes have matched and the next one does not, so many match still (Knuth,
    // Morris and Pratt 1977).
    std::vector<size_t> fallback;
    size_t matched = 0;  // the last so many bytes added are the first of `text`
  };
  // True when `byte` completes the stop.
  static bool advance(Stop& stop, char byte);

  std::vector<Stop> stops_;
  std::string held_;  // not shown yet
  int stop_ = -1;
};

}  // namespace ration
