#include "serve/request_log.h"

#include <fmt/chrono.h>

#include "base/clock.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr size_t kBodyMax = 64 * 1024;  // of what was asked

void append_text_or_null(std::string& line, std::string_view name, std::string_view text) {
  line += fmt::format(",\"{}\":", name);
  if (text.empty()) {
    line += "null";
  } else {
    append_json_string(line, text);
  }
}

}  // namespace

void RequestLog::add(const LoggedRequest& request) const {
  if (!is_on()) return;
  std::string line = fmt::format("{{\"time\":\"{:%FT%TZ}\",\"id\":", fmt::gmtime(unix_seconds()));
  append_json_string(line, request.id);
  append_text_or_null(line, "key", request.key);
  append_text_or_null(line, "path", request.path);
  append_text_or_null(line, "model", request.model);
  line += fmt::format(",\"status\":{}", request.status);
  append_text_or_null(line, "error", request.error);
  line += fmt::format(",\"gone\":{},\"stream\":{},\"ms\":{:.1f},\"first_token_ms\":", request.gone,
                      request.stream, request.whole.count);
  line += request.first_token ? fmt::format("{:.1f}", request.first_token->count) : "null";
  line += ",\"bill\":";
  if (request.bill) {
    append_json(line, *request.bill);
  } else {
    line += "null";
  }
  if (options_.bodies) append_text_or_null(line, "body", request.body.substr(0, kBodyMax));
  line += "}";
  options_.write(line);
}

}  // namespace ration
