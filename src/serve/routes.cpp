#include "serve/routes.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/text.h"
#include "serve/openapi.h"

namespace ration {
namespace {

constexpr std::string_view kModelPrefix = "/v1/models/";
constexpr std::string_view kModels = "/v1/models";
constexpr std::string_view kMessages = "/v1/messages";
constexpr std::string_view kPost = "POST";
constexpr std::string_view kGet = "GET, HEAD";

// Whoever looks after the server can see that it lives, without a key.
constexpr std::array<std::string_view, 2> kOpenPaths{"/", "/health"};

// A page is made at once; without one, and with a face that reads, the request goes to Answers.
struct Route {
  std::string_view allow;
  std::string_view path;
  const Face& face;
  std::string (*page)(std::span<const ModelView> models) = nullptr;
};
const std::array kRoutes{
    Route{kPost, "/v1/chat/completions", kOpenAiChat},
    Route{kPost, "/v1/completions", kOpenAiText},
    Route{kPost, "/v1/embeddings", kOpenAiEmbeddings},
    Route{kPost, "/v1/rerank", kRerank},
    Route{kPost, "/rerank", kRerank},
    Route{kPost, "/v1/responses", kOpenAiResponses},
    Route{kPost, kMessages, kAnthropicMessages},
    Route{kPost, "/v1/messages/count_tokens", kAnthropicCount},
    Route{kPost, "/api/chat", kOllamaChat},
    Route{kPost, "/api/generate", kOllamaGenerate},
    Route{kPost, "/api/embed", kOllamaEmbed},
    Route{kPost, "/api/embeddings", kOllamaEmbeddings},
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
    Route{kGet, "/openapi.json", kOpenAiPage},
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

std::string list_of_routes(std::span<const ModelView> models) {
  std::string names;
  for (const ModelView& model : models) {
    names += (names.empty() ? "" : ", ") + model.card.names.front();
  }
  std::string out = fmt::format("Ration {} serves {}:\n", RATION_VERSION, names);
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
      keys_(options_.keys ? options_.keys : std::make_shared<const Keys>()),
      links_(std::move(links)),
      answers_(answers),
      clock_(clock),
      start_ns_(clock.now_ns()) {}

// A page in a browser may be made to call this machine: by a name of its own that resolves to it
// (then Host is that name), or across origins (then Origin is not us). Neither gets an answer.
std::optional<ApiError> Routes::check_origin(const HttpRequest& request) const {
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

std::variant<Caller, ApiError> Routes::caller_of(const HttpRequest& request) const {
  if (keys_->empty() || std::ranges::find(kOpenPaths, request.path) != kOpenPaths.end()) {
    return Caller();
  }
  const Result<const ServeKey*> key = keys_->find(request.credential);
  if (!key) {
    return ApiError{.status = 500,
                    .type = std::string(error_type(500)),
                    .code = "internal_error",
                    .message = key.error().message};
  }
  if (*key) return Caller(keys_, *key);
  const bool without = request.credential.empty();
  return ApiError{.status = 401,
                  .type = std::string(error_type(401)),
                  .code = without ? "missing_api_key" : "invalid_api_key",
                  .message = fmt::format("found {}, wanted one of this server's keys in the header "
                                         "'authorization: Bearer KEY' or 'x-api-key: KEY'",
                                         without ? "no key" : "a key that is none of ours")};
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
  Caller caller;
  std::optional<ApiError> refused = check_origin(request);
  if (!refused) {
    std::variant<Caller, ApiError> asked = caller_of(request);
    if (ApiError* error = std::get_if<ApiError>(&asked)) {
      refused = std::move(*error);
    } else {
      caller = std::move(std::get<Caller>(asked));
    }
  }
  if (!refused && !known) refused = not_found(request.path);
  if (refused) {
    reply = to_reply(face_of_path(request.path), *refused);
  } else if (posts ? request.method != "POST" : !gets) {
    reply = not_allowed(*route, request.method);
  } else if (posts) {
    return answers_.begin(route->face, std::move(request), std::move(caller), exchange);
  } else if (is_model) {
    reply = model_page(request);
  } else if (route->page) {
    reply = {.body = route->page(links_.models()) + "\n"};
  } else {
    reply = page(request);
  }
  links_.mark(reply, 0);
  links_.record(request, caller, reply.status, refused ? refused->code : "");
  exchange->reply(std::move(reply));
}

HttpReply Routes::page(const HttpRequest& request) const {
  if (request.path == "/health") return health();
  if (request.path == "/metrics") {
    return {.body = links_.metrics(), .type = "text/plain; version=0.0.4; charset=utf-8"};
  }
  if (request.path == "/openapi.json") return {.body = std::string(openapi_text())};
  return {.body = list_of_routes(links_.models()), .type = "text/plain; charset=utf-8"};
}

HttpReply Routes::model_page(const HttpRequest& request) const {
  const std::string name = request.path.substr(kModelPrefix.size());
  const std::vector<ModelView> models = links_.models();
  const std::variant<const ModelView*, ApiError> found = find_model(name, models);
  if (const ApiError* error = std::get_if<ApiError>(&found)) return to_reply(kOpenAiPage, *error);
  return {.body = openai_model(*std::get<const ModelView*>(found)) + "\n"};
}

HttpReply Routes::health() const {
  const bool stopping = answers_.stopping();
  std::string body = fmt::format("{{\"status\":\"{}\",\"model\":", stopping ? "stopping" : "ok");
  const std::vector<ModelView> models = links_.models();
  append_json_string(body, models.front().card.names.front());
  body += ",\"models\":{";
  for (const ModelView& model : models) {
    if (!body.ends_with('{')) body += ',';
    append_json_string(body, model.card.names.front());
    body += fmt::format(":\"{}\"", model.status);
  }
  body += fmt::format("}},\"uptime_seconds\":{:.0f}{}}}\n", clock_.since(start_ns_).count / 1000,
                      links_.status_json());
  return {.status = stopping ? 503 : 200, .body = std::move(body)};
}

}  // namespace ration
