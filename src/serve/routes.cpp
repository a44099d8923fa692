#include "serve/routes.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"

namespace ration {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kModels = "/v1/models";
constexpr std::string_view kMessages = "/v1/messages";
constexpr std::string_view kPost = "POST";
constexpr std::string_view kGet = "GET, HEAD";

// A page is made at once; without one, and with a face that reads, the request goes to Answers.
struct Route {
  std::string_view allow;
  std::string_view path;
  const Face& face;
  std::string (*page)(const ServedModel& served) = nullptr;
};
const std::array kRoutes{
    Route{kPost, "/v1/chat/completions", kOpenAiChat},
    Route{kPost, "/v1/completions", kOpenAiText},
    Route{kPost, "/v1/responses", kOpenAiResponses},
    Route{kPost, kMessages, kAnthropicMessages},
    Route{kPost, "/v1/messages/count_tokens", kAnthropicCount},
    Route{kPost, "/api/chat", kOllamaChat},
    Route{kPost, "/api/generate", kOllamaGenerate},
    Route{kPost, "/api/show", kOllamaShow},
    Route{kGet, "/api/tags", kOllamaPage, ollama_tags},
    Route{kGet, "/api/ps", kOllamaPage, ollama_running},
    Route{kGet, "/api/version", kOllamaPage, ollama_version},
    Route{kPost, "/tokenize", kTokenize},
    Route{kPost, "/detokenize", kDetokenize},
    Route{kPost, "/apply-template", kApplyTemplate},
    Route{kGet, kModels, kOpenAiPage, openai_models},
    Route{kGet, "/health", kOpenAiPage},
    Route{kGet, "/metrics", kOpenAiPage},
    Route{kGet, "/", kOpenAiPage},
};

// "[::1]:80" -> "[::1]", "localhost:80" -> "localhost"
std::string_view without_port(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos)
    return host;
  return host.substr(0, colon);
}

bool names_this_machine(std::string_view host) {
  return host.empty() || host == "localhost" || host.ends_with(".localhost") || host == "[::1]" ||
         (host.starts_with("127.") &&
          host.find_first_not_of("0123456789.") == std::string_view::npos);
}

ApiError not_found(std::string_view path) {
  std::vector<std::string> known;
  for (const Route& route : kRoutes) known.emplace_back(route.path);
  const std::string shown = to_valid_utf8(path.substr(0, 100));
  std::string hint = did_you_mean(shown, known);
  if (hint.empty()) hint = "GET / lists what there is";
  return {.status = 404,
          .type = "not_found_error",
          .code = "unknown_path",
          .message = fmt::format("there is no path '{}', {}", shown, hint)};
}

HttpReply not_allowed(const Route& route, std::string_view method) {
  HttpReply reply = to_reply(
      route.face, {.status = 405,
                   .code = "method_not_allowed",
                   .message = fmt::format("found the method {}, wanted {}",
                                          to_valid_utf8(method.substr(0, 20)), route.allow)});
  reply.headers.emplace_back("allow", route.allow);
  return reply;
}

std::string list_of_routes(const ServedModel& served) {
  std::string out = fmt::format("Ration {} serves {}:\n", RATION_VERSION, served.names.front());
  for (const Route& route : kRoutes) {
    out += fmt::format("{:4} {}\n", route.allow == kPost ? "POST" : "GET", route.path);
  }
  return out;
}

}  // namespace

const Face& face_of_path(std::string_view path) {
  if (path.starts_with(kMessages)) return kAnthropicMessages;
  return path.starts_with("/api/") ? kOllamaPage : kOpenAiPage;
}

Routes::Routes(RoutesOptions options, RoutesLinks links, Answers& answers, const Clock& clock)
    : options_(std::move(options)),
      links_(std::move(links)),
      answers_(answers),
      clock_(clock),
      start_ns_(clock.now_ns()) {}

// A page in a browser may be made to call this machine: by a name of its own that resolves to it
// (then Host is that name), or across origins (then Origin is not us). Neither gets an answer.
std::optional<ApiError> Routes::check_caller(const HttpRequest& request) const {
  const std::string_view host = without_port(request.host);
  if (options_.loopback && !names_this_machine(host) && host != options_.host) {
    return ApiError{.status = 403,
                    .type = "permission_error",
                    .code = "host_refused",
                    .message = fmt::format("found the host '{}', wanted localhost or the address "
                                           "that is listened on",
                                           to_valid_utf8(host.substr(0, 100)))};
  }
  const bool same = request.origin.empty() || request.origin == "http://" + request.host ||
                    request.origin == "https://" + request.host;
  if (same) return std::nullopt;
  return ApiError{.status = 403,
                  .type = "permission_error",
                  .code = "origin_refused",
                  .message = fmt::format("found the origin '{}', wanted none: pages of other "
                                         "origins are not answered",
                                         to_valid_utf8(request.origin.substr(0, 100)))};
}

void Routes::handle(HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
  if (request.path.size() > 1 && request.path.ends_with('/')) request.path.pop_back();
  const bool is_model = request.path.starts_with(kModelPrefix);
  const std::string_view path = is_model ? kModels : std::string_view(request.path);
  const auto route = std::ranges::find(kRoutes, path, &Route::path);
  const bool known = route != kRoutes.end();
  const bool posts = known && route->allow == kPost;
  const bool gets = request.method == "GET" || request.method == "HEAD";
  HttpReply reply;
  if (const std::optional<ApiError> refused = check_caller(request)) {
    reply = to_reply(face_of_path(request.path), *refused);
  } else if (!known) {
    reply = to_reply(face_of_path(request.path), not_found(request.path));
  } else if (posts ? request.method != "POST" : !gets) {
    reply = not_allowed(*route, request.method);
  } else if (posts) {
    return answers_.begin(route->face, std::move(request), exchange);
  } else if (is_model) {
    reply = model_page(request);
  } else if (route->page) {
    reply = {.body = route->page(options_.served) + "\n"};
  } else {
    reply = page(request);
  }
  links_.mark(reply);
  exchange->reply(std::move(reply));
}

HttpReply Routes::page(const HttpRequest& request) const {
  if (request.path == "/health") return health();
  if (request.path == "/metrics") {
    return {.body = links_.metrics(), .type = "text/plain; version=0.0.4; charset=utf-8"};
  }
  return {.body = list_of_routes(options_.served), .type = "text/plain; charset=utf-8"};
}

HttpReply Routes::model_page(const HttpRequest& request) const {
  const std::string name = request.path.substr(kModelPrefix.size());
  if (!is_model_name(name, options_.served.names)) {
    return to_reply(kOpenAiPage, unknown_model(name, options_.served.names));
  }
  return {.body = openai_model(options_.served) + "\n"};
}

HttpReply Routes::health() const {
  const bool stopping = answers_.stopping();
  std::string body = fmt::format("{{\"status\":\"{}\",\"model\":", stopping ? "stopping" : "ok");
  append_json_string(body, options_.served.names.front());
  body += fmt::format(",\"uptime_seconds\":{:.0f}{}}}\n", clock_.since(start_ns_).count / 1000,
                      links_.status_json());
  return {.status = stopping ? 503 : 200, .body = std::move(body)};
}

}  // namespace ration
