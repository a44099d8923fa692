// model/store/http.h - one GET, by libcurl. Private to the store.
//
// libcurl is opened at the first request and not linked: with the thirty libraries it brings it
// would cost every command 6 MiB of memory and 9 ms of start. Proxies come from the usual variables
// (https_proxy, no_proxy, ...), a private certificate bundle from CURL_CA_BUNDLE, SSL_CERT_FILE or
// REQUESTS_CA_BUNDLE.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "model/store/store.h"

namespace ration {

struct HttpRequest {
  std::string url{};
  std::string token{};  // sent as a bearer token to the url's own host, never where it redirects to
  Bytes range_begin{0};    // above 0: ask for the rest from here
  std::string if_range{};  // with range_begin: only if the file still has this ETag or date
  RetryPolicy limits{};    // stall, connect and redirects_max are used
};

// The head of the final answer, after redirects.
struct HttpHead {
  int status = 0;
  Bytes content_length{-1};  // negative: not announced
  Bytes range_begin{-1};     // of a 206 answer; negative: none
  Bytes range_total{-1};     // of a 206 or 416 answer
  std::string etag{};
  std::string last_modified{};
  std::string error_code{};     // the hub's X-Error-Code
  std::string error_message{};  // the hub's X-Error-Message
};

struct HttpHandler {
  // Before the first byte of a body with status 200 or 206. An error ends the transfer with it.
  std::function<Status(const HttpHead&)> on_head{};
  std::function<Status(std::span<const std::byte>)> on_body{};
  // At least ten times a second; false ends the transfer with kCancelled.
  std::function<bool()> keep_going{};
};

struct HttpOutcome {
  HttpHead head{};
  std::optional<Error> error{};  // empty: the whole answer, status 200 or 206, went to the handler
  bool transient = false;        // trying again may help
  bool unreachable = false;      // no connection was made at all
};

// REQUIRES: url begins with http:// or https://.
HttpOutcome http_get(const HttpRequest& request, const HttpHandler& handler, const Clock& clock);

// "host" or "host:port" of a url, without credentials: for messages.
std::string url_host(std::string_view url);

// Everything but letters, digits and "-_.~/" as %XX.
std::string encode_path(std::string_view path);

}  // namespace ration
