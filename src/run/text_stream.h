// run/text_stream.h - the tokens of one answer as text that is safe to show.
//
// Holds back what cannot be shown yet: a cut code point, and anything that may still turn out to be
// the beginning of a stop string. Private to run/; run/run.h hands it on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ration {

// single-thread: one object an answer.
class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops);

  // Adds the bytes of one token; returns the text that may be shown now: valid UTF-8, maybe empty.
  // After a stop string was met nothing more comes out.
  std::string add(std::string_view bytes);
  // The answer is over: what was held back. Cut code points become U+FFFD.
  std::string finish();

  bool stopped() const { return stop_ >= 0; }
  // The stop string that was met; "" when none was.
  std::string_view stop() const;

 private:
  std::vector<std::string> stops_;
  std::string held_;  // not shown yet
  int stop_ = -1;
};

}  // namespace ration
