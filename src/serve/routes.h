// serve/routes.h - what each path is: a table of methods, paths and faces. Runs on the io thread
// only. Private to serve/.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "serve/answers.h"
#include "serve/face/face.h"
#include "serve/http.h"

namespace ration {

struct RoutesOptions {
  ServedModel served;
  std::string host;       // the one that was asked for; it may be in a Host header
  bool loopback = false;  // then the Host header must name this machine
};

struct RoutesLinks {
  std::function<std::string()> status_json;  // ,"memory":{...}... for /health
  std::function<std::string()> metrics;      // of /metrics
  std::function<void(HttpReply&)> mark;      // adds the headers that every reply has
};

// The face whose errors a path's clients understand; whatever the path is.
const Face& face_of_path(std::string_view path);

// single-thread: the io thread's.
class Routes {
 public:
  // REQUIRES: answers and clock outlive it.
  Routes(RoutesOptions options, RoutesLinks links, Answers& answers, const Clock& clock);

  void handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange);

 private:
  std::optional<ApiError> check_caller(const HttpRequest& request) const;
  HttpReply page(const HttpRequest& request) const;
  HttpReply model_page(const HttpRequest& request) const;
  HttpReply health() const;

  const RoutesOptions options_;
  const RoutesLinks links_;
  Answers& answers_;
  const Clock& clock_;
  const int64_t start_ns_;
};

}  // namespace ration
