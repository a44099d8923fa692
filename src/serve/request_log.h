// serve/request_log.h - one line of JSON for each request, when it is over:
//
//   {"time":"2026-01-31T12:00:00Z","id":"req-...","key":"alice","path":"/v1/chat/completions",
//    "model":"smollm2-135m","status":200,"error":null,"gone":false,"stream":true,"ms":812.4,
//    "first_token_ms":95.1,"bill":{...}}
//
// What was asked is in it only where that was wished for.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/unit.h"
#include "measure/measure.h"

namespace ration {

struct RequestLogOptions {
  std::function<void(std::string_view line)> write{};  // without its newline; none: no log
  bool bodies = false;                                 // with what was asked
};

struct LoggedRequest {
  std::string_view id;
  std::string_view key;  // the name of the caller's key; "": none
  std::string_view path;
  std::string_view model;  // "": none had a part in it
  int status = 0;
  std::string_view error;  // its code; "": none
  bool gone = false;       // the client went away, or was broken off
  bool stream = false;
  Millis whole{};
  std::optional<Millis> first_token{};
  const Bill* bill = nullptr;
  std::string_view body{};
};

// single-thread: the io thread's.
class RequestLog {
 public:
  explicit RequestLog(RequestLogOptions options) : options_(std::move(options)) {}

  bool is_on() const { return options_.write != nullptr; }
  bool keeps_bodies() const { return is_on() && options_.bodies; }
  void add(const LoggedRequest& request) const;

 private:
  const RequestLogOptions options_;
};

}  // namespace ration
