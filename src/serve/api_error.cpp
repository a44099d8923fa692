#include "serve/api_error.h"

namespace ration {

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 500:
      return "server_error";
    case 503:
    case 504:
      return "unavailable_error";
    default:
      return "invalid_request_error";
  }
}

ApiError run_error(const Error& error) {
  ApiError out{.message = error.message, .bytes = error.shortfall};
  switch (error.code) {
    case Code::kInvalid:
      out.code = "invalid_value";
      return out;
    case Code::kOverBudget:
      out.status = 503;
      out.code = "insufficient_memory";
      out.retry_after_seconds = kRetrySeconds;
      break;
    case Code::kDeadline:
      out.status = 504;
      out.code = "deadline_exceeded";
      out.param = "ration.max_ms";
      break;
    default:
      out.status = 500;
      out.code = "internal_error";
      break;
  }
  out.type = error_type(out.status);
  return out;
}

ApiError stopping_error() {
  return {.status = 503,
          .type = "unavailable_error",
          .code = "stopping",
          .message = "the server is being stopped",
          .retry_after_seconds = 5};
}

}  // namespace ration
