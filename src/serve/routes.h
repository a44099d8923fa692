// serve/routes.h - what each path is: a table of methods, paths and faces. Runs on the io thread
// only. Private to serve/.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/clock.h"
#include "serve/answers.h"
#include "serve/face/face.h"
#include "serve/http.h"
#include "serve/keys.h"

namespace ration {

struct RoutesOptions {
  std::string host;                  // the one that was asked for; it may be in a Host header
  bool loopback = false;             // then the Host header must name this machine
  std::shared_ptr<const Keys> keys;  // null: none
};

struct RoutesLinks {
  std::function<std::vector<ModelView>()> models;
  std::function<std::string()> status_json;  // ,"memory":{...}... for /health
  std::function<std::string()> metrics;      // of /metrics
  // Adds the headers that every reply has; model: an index.
  std::function<void(HttpReply&, size_t model)> mark;
  // A reply that is made here.
  std::function<void(const HttpRequest&, const Caller&, int status, std::string_view error)> record;
};

// The face whose errors a path's clients understand; whatever the path is.
const Face& face_of_path(std::string_view path);

// single-thread: the io thread's.
class Routes {
 public:
  // REQUIRES: answers and clock outlive it.
  Routes(RoutesOptions options, RoutesLinks links, Answers& answers, const Clock& clock);

  void handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange);
  // Of requests that come from now on.
  void set_keys(std::shared_ptr<const Keys> keys) { keys_ = std::move(keys); }

 private:
  std::optional<ApiError> check_origin(const HttpRequest& request) const;
  // Whose it is; null: anybody's.
  std::variant<Caller, ApiError> caller_of(const HttpRequest& request) const;
  HttpReply page(const HttpRequest& request) const;
  HttpReply model_page(const HttpRequest& request) const;
  HttpReply health() const;

  const RoutesOptions options_;
  std::shared_ptr<const Keys> keys_;
  const RoutesLinks links_;
  Answers& answers_;
  const Clock& clock_;
  const int64_t start_ns_;
};

}  // namespace ration
