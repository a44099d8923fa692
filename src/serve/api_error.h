// serve/api_error.h - a refusal; each face (face/face.h) words it in its own shape. Private to
// serve/.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ration {

// type: invalid_request_error, authentication_error, permission_error, not_found_error,
// unavailable_error, server_error.
// message: like every Error's, lower case, no full stop, "found X, wanted Y".
struct ApiError {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string code;
  std::string message;
  std::string param = {};  // the request's field at fault, "messages[2].content"; "" is null
  std::optional<Shortfall> bytes = std::nullopt;   // needed_bytes and available_bytes
  std::optional<Shortfall> tokens = std::nullopt;  // needed_tokens and available_tokens
  int retry_after_seconds = 0;                     // 0: trying again will not help
};

// When to try again what may soon be possible.
inline constexpr int kRetrySeconds = 1;

// The type that goes with a status.
std::string_view error_type(int status);
// What the runner or the engine says, once a request is prepared.
ApiError run_error(const Error& error);
// 503, to whom the server will not answer any more.
ApiError stopping_error();

}  // namespace ration
