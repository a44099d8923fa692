#include <fmt/core.h>

#include <atomic>

#include "base/text.h"
#include "serve/engine_loop.h"
#include "serve/http.h"
#include "serve/prepare.h"
#include "serve/routes.h"
#include "serve/serve.h"

namespace ration {
namespace {

constexpr Millis kFlushMax{1'000};  // for the last bytes of the last answers

// The object of /v1/models; made once, so that listing never waits for the engine.
std::string model_json(const ServeParts& parts, const std::string& name) {
  const Gguf& file = parts.model.file();
  int64_t parameters = 0;
  for (const GgufTensor& tensor : file.tensors()) parameters += tensor.rows() * tensor.cols();
  const Network& network = parts.model.network();
  std::string out = "{\"id\":";
  append_json_string(out, name);
  out += fmt::format(
      ",\"object\":\"model\",\"created\":{},\"owned_by\":\"ration\",\"meta\":{{\"family\":\"{}\","
      "\"n_ctx\":{},\"n_ctx_train\":{},\"n_vocab\":{},\"n_embd\":{},\"n_params\":{},\"size\":{}}}}"
      "}",
      unix_seconds(), network.family, parts.engine.options().context, network.context_trained,
      network.vocabulary, network.width, parameters, file.tensor_bytes().count);
  return out;
}

HttpOptions http_options(const ServeOptions& options) {
  return {.host = options.host,
          .port = options.port,
          .connections_max = options.connections_max,
          .header_max = options.header_max,
          .body_max = options.body_max,
          .unsent_max = options.unsent_max,
          .header_timeout = options.header_timeout,
          .body_timeout = options.body_timeout,
          .idle_timeout = options.idle_timeout,
          .write_timeout = options.write_timeout};
}

std::string http_error(int status, std::string_view code, const Error& error) {
  return to_json({.status = status,
                  .type = std::string(error_type(status)),
                  .code = std::string(code),
                  .message = error.message,
                  .bytes = error.shortfall});
}

}  // namespace

struct Server::State {
  State(const ServeParts& parts_in, ServeOptions options_in)
      : parts(parts_in),
        options(std::move(options_in)),
        loop(parts.runner, parts.model.tokenizer(), parts.clock, options.news_every,
             [this](std::vector<AnswerNews> news) {
               http->post([this, news = std::make_shared<std::vector<AnswerNews>>(
                                     std::move(news))] { routes->on_news(std::move(*news)); });
             }) {}

  Status open();
  void on_prepared(const Preparer::Job& job, std::variant<PreparedChat, ApiError> result);
  std::string status_json() const;
  void stop(Millis grace);

  const ServeParts parts;
  const ServeOptions options;
  std::atomic<int> signal = 0;
  EngineLoop loop;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Routes> routes;
  std::unique_ptr<Preparer> preparer;
};

Status Server::State::open() {
  Result<std::unique_ptr<HttpServer>> listening = HttpServer::listen(
      http_options(options), parts.budget,
      [this](HttpRequest request, std::shared_ptr<Exchange> exchange) {
        routes->handle(std::move(request), exchange);
      },
      http_error);
  if (!listening) return listening.error();
  http = std::move(*listening);
  const int64_t sequences = parts.engine.options().logit_rows_max;
  routes = std::make_unique<Routes>(
      RoutesOptions{.names = options.names,
                    .models_json = model_json(parts, options.names.front()),
                    .answers_max = options.waiting_max + sequences,
                    .ping_every = options.ping_every,
                    .host = options.host,
                    .loopback = http->is_loopback(),
                    .tariff = options.tariff},
      RoutesLinks{.prepare = [this](Preparer::Job job) { preparer->add(std::move(job)); },
                  .cancel = [this](uint64_t key) { loop.cancel(key); },
                  .status_json = [this] { return status_json(); }},
      parts.budget, parts.clock);
  return {};
}

// On the prepare thread.
void Server::State::on_prepared(const Preparer::Job& job,
                                std::variant<PreparedChat, ApiError> result) {
  if (ApiError* error = std::get_if<ApiError>(&result)) {
    http->post([this, key = job.key, error = std::move(*error)] { routes->refuse(key, error); });
    return;
  }
  PreparedChat& chat = std::get<PreparedChat>(result);
  // First the routes, so that they know the answer when its news come.
  http->post([this, key = job.key, traits = chat.traits] { routes->prepared(key, traits); });
  loop.order({.key = job.key,
              .request = std::move(chat.request),
              .arrived_ns = job.arrived_ns,
              .wants_tokens = chat.traits.logprobs,
              .gone = job.gone});
}

// On the io thread.
std::string Server::State::status_json() const {
  const BudgetReport report = parts.budget.report();
  const int64_t active = loop.active();
  return fmt::format(
      ",\"memory\":{{\"used_bytes\":{},\"peak_bytes\":{},\"limit_bytes\":{}}},\"answers\":"
      "{{\"active\":{},\"waiting\":{}}},\"connections\":{}",
      report.used_total.count, report.peak_total.count, parts.budget.hard().count, active,
      std::max<int64_t>(0, routes->answers() - active), http->connections());
}

void Server::State::stop(Millis grace) {
  http->post([this] { routes->begin_stop(); });
  http->drain();
  loop.stop(grace);
}

Result<std::unique_ptr<Server>> Server::listen(const ServeParts& parts, ServeOptions options) {
  if (!parts.model.chat_template()) {
    return Error{Code::kUnsupported,
                 fmt::format("{} cannot be served for chat: {}", parts.model.name(),
                             parts.model.template_problem())};
  }
  if (options.names.empty()) options.names.push_back(parts.model.name());
  auto state = std::make_unique<State>(parts, std::move(options));
  if (Status opened = state->open(); !opened) return opened.error();
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

int Server::port() const { return state_->http->port(); }
std::string Server::url() const { return "http://" + state_->http->address(); }
int64_t Server::connections() const { return state_->http->connections(); }

int Server::run() {
  State& state = *state_;
  state.preparer = std::make_unique<Preparer>(
      state.parts.model, state.parts.clock,
      PrepareOptions{.names = state.options.names,
                     .sampler = state.options.sampler,
                     .context = state.parts.engine.options().context},
      [&state](const Preparer::Job& job, std::variant<PreparedChat, ApiError> result) {
        state.on_prepared(job, std::move(result));
      });
  if (state.options.catch_signals) {
    state.http->on_signals([&state](int number) {
      const bool again = state.signal.exchange(number) != 0;
      state.stop(again ? Millis{0} : state.options.grace);
    });
  }
  state.http->start();
  state.loop.run();
  state.preparer.reset();
  // What was still being prepared.
  state.http->post([&state] { state.routes->refuse_all(); });
  state.http->stop(kFlushMax);
  return state.signal;
}

void Server::stop() { state_->stop(state_->options.grace); }

}  // namespace ration
