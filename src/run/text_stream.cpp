#include "run/text_stream.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace ration {

TextStream::TextStream(std::vector<std::string> stops) {
  for (std::string& text : stops) {
    if (text.empty()) continue;
    Stop stop{.text = std::move(text), .fallback = {0, 0}};
    for (size_t n = 1; n < stop.text.size(); ++n) {
      size_t shorter = stop.fallback[n];
      while (shorter > 0 && stop.text[shorter] != stop.text[n]) shorter = stop.fallback[shorter];
      stop.fallback.push_back(stop.text[shorter] == stop.text[n] ? shorter + 1 : 0);
    }
    stops_.push_back(std::move(stop));
  }
}

bool TextStream::advance(Stop& stop, char byte) {
  while (stop.matched > 0 && stop.text[stop.matched] != byte) {
    stop.matched = stop.fallback[stop.matched];
  }
  if (stop.text[stop.matched] == byte) ++stop.matched;
  return stop.matched == stop.text.size();
}

std::string TextStream::add(std::string_view bytes) {
  if (stopped()) return {};
  for (const char byte : bytes) {
    held_ += byte;
    for (size_t i = 0; i < stops_.size(); ++i) {
      if (!advance(stops_[i], byte)) continue;
      const bool longest = !stopped() || stops_[i].text.size() > stop().size();
      if (longest) stop_ = static_cast<int>(i);
    }
    if (stopped()) {
      // What is held reaches back at least as far as any match does.
      held_.resize(held_.size() - stop().size());
      return to_valid_utf8(std::exchange(held_, {}));
    }
  }
  size_t matched = 0;
  for (const Stop& stop : stops_) matched = std::max(matched, stop.matched);
  std::string_view shown(held_);
  shown.remove_suffix(matched);
  shown.remove_suffix(incomplete_utf8_tail(shown));
  std::string out = to_valid_utf8(shown);
  held_.erase(0, shown.size());
  return out;
}

std::string TextStream::finish() {
  if (stopped()) return {};
  for (Stop& stop : stops_) stop.matched = 0;
  return to_valid_utf8(std::exchange(held_, {}));
}

std::string_view TextStream::stop() const {
  return stopped() ? std::string_view(stops_[static_cast<size_t>(stop_)].text) : std::string_view();
}

}  // namespace ration
