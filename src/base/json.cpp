#include "base/json.h"

#include <fmt/core.h>

#include <set>
#include <vector>

namespace ration {
namespace {

// Refuses what a tolerant parser would let through, before the value is built.
class Guard {
 public:
  explicit Guard(int depth_max) : depth_max_(depth_max) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, Json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= depth_max_) {
        throw std::length_error(fmt::format("nested deeper than {} levels", depth_max_));
      }
      keys_.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw std::length_error(fmt::format("key '{}' appears twice in one object", key));
      }
    }
    return true;
  }

 private:
  int depth_max_;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, int depth_max) {
  try {
    Guard guard(depth_max);
    return Json::parse(text, [&guard](int depth, auto event, Json& parsed) {
      return guard(depth, static_cast<nlohmann::json::parse_event_t>(event), parsed);
    });
  } catch (const std::exception& thrown) {
    std::string message = thrown.what();
    // The library prefixes its messages with "[json.exception.parse_error.101] ".
    if (const size_t end = message.find("] ");
        message.starts_with('[') && end != std::string::npos) {
      message.erase(0, end + 2);
    }
    return Error{Code::kInvalid, "not valid JSON: " + message};
  }
}

std::string to_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ration
