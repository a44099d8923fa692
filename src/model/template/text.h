// model/template/text.h - text that knows, byte range by byte range, who wrote it.
//
// Almost every text has one author, so the runs are kept as the places where the author changes:
// none in the common case. All text inside the engine is valid UTF-8 and authors change only
// between code points, so a slice at code points is valid again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/prompt.h"

namespace ration::jinja {

enum class Origin : uint8_t { kUser = 0, kTemplate = 1 };

// single-thread; shared-const once it no longer changes.
class Text {
 public:
  Text() = default;
  Text(std::string bytes, Origin origin) : bytes_(std::move(bytes)), first_(origin) {}

  std::string_view view() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool only_template() const { return flips_.empty() && first_ == Origin::kTemplate; }
  // How often the author changes.
  size_t flips() const { return flips_.size(); }

  // REQUIRES: position < size().
  Origin origin_at(size_t position) const;

  void append(std::string_view bytes, Origin origin);
  void append(const Text& other) { append(other, 0, other.size()); }
  // The bytes [begin, end) of `other`. REQUIRES: begin <= end <= other.size().
  void append(const Text& other, size_t begin, size_t end);
  Text slice(size_t begin, size_t end) const;

  // visit(std::string_view piece, Origin origin) for each run, in order.
  template <class Visit>
  void each_run(Visit visit) const {
    Origin origin = first_;
    size_t begin = 0;
    for (const size_t flip : flips_) {
      visit(view().substr(begin, flip - begin), origin);
      origin = other_of(origin);
      begin = flip;
    }
    if (begin < size()) visit(view().substr(begin), origin);
  }

  Prompt to_prompt() const;

 private:
  static Origin other_of(Origin origin) {
    return origin == Origin::kUser ? Origin::kTemplate : Origin::kUser;
  }
  Origin origin_after(size_t flips) const { return flips % 2 == 0 ? first_ : other_of(first_); }

  std::string bytes_;
  std::vector<size_t> flips_;  // rising, each in (0, size): the author changes at this byte
  Origin first_ = Origin::kTemplate;
};

}  // namespace ration::jinja
