#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <csignal>

#include "serve/answers.h"
#include "serve/engine_loop.h"
#include "serve/http.h"
#include "serve/model_pool.h"
#include "serve/prepare.h"
#include "serve/routes.h"
#include "serve/serve.h"
#include "serve/server_metrics.h"

namespace ration {
namespace {

constexpr Millis kFlushMax{1'000};  // for the last bytes of the last answers

// What may stand in a header: one line of plain text.
std::string header_text(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

std::vector<std::string> ids_of(const std::vector<ServeModel>& models) {
  std::vector<std::string> ids;
  for (const ServeModel& model : models) ids.push_back(model.names.front());
  return ids;
}

HttpOptions http_options(const ServeOptions& options) {
  return {.host = options.host,
          .port = options.port,
          .socket = options.socket,
          .connections_max = options.connections_max,
          .header_max = options.header_max,
          .body_max = options.body_max,
          .unsent_max = options.unsent_max,
          .header_timeout = options.header_timeout,
          .body_timeout = options.body_timeout,
          .idle_timeout = options.idle_timeout,
          .write_timeout = options.write_timeout};
}

HttpReply http_refusal(std::string_view path, int status, std::string_view code,
                       const Error& error) {
  return to_reply(face_of_path(path), {.status = status,
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
        start_ns(parts.clock.now_ns()),
        metrics(ids_of(options.models)),
        log(options.log),
        pool({.models = options.models,
              .budget = options.pool,
              .helper_budget = options.helper_pool},
             parts.loader, parts.clock,
             {.on_loaded = [this](size_t model, Millis took) { metrics.loaded(model, took); },
              .on_failed = [this](size_t model) { metrics.load_failed(model); },
              .on_unloaded = [this](size_t model,
                                    std::string_view reason) { metrics.unloaded(model, reason); }}),
        loop(
            parts.clock, options.news_every,
            [this](std::vector<AnswerNews> news) {
              http->post([this, news = std::make_shared<std::vector<AnswerNews>>(std::move(news))] {
                answers->on_news(std::move(*news));
              });
            },
            [this](size_t model, Millis since_last) { metrics.next_token(model, since_last); }) {}

  Status open();
  void mark(HttpReply& reply, size_t model) const;
  std::string status_json() const;
  std::string metrics_text();
  void reload();
  void stop(Millis grace);

  const ServeParts parts;
  const ServeOptions options;
  const int64_t start_ns;
  ServerMetrics metrics;
  const RequestLog log;
  ModelPool pool;  // outlives whoever may hold a lease
  std::atomic<int> signal = 0;
  EngineLoop loop;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Answers> answers;
  std::unique_ptr<Routes> routes;
  std::unique_ptr<Preparer> preparer;
};

Status Server::State::open() {
  if (Status loaded = pool.load_first(); !loaded) return loaded;
  Result<std::unique_ptr<HttpServer>> listening = HttpServer::listen(
      http_options(options), parts.budget,
      [this](HttpRequest request, std::shared_ptr<Exchange> exchange) {
        routes->handle(std::move(request), exchange);
      },
      [this](std::string_view path, int status, std::string_view code, const Error& error) {
        HttpReply reply = http_refusal(path, status, code, error);
        mark(reply, 0);
        return reply;
      });
  if (!listening) return listening.error();
  http = std::move(*listening);
  const auto add_marks = [this](HttpReply& reply, size_t model) { mark(reply, model); };
  answers = std::make_unique<Answers>(
      AnswersOptions{.choices_max = options.waiting_max + options.sequences_max,
                     .ping_every = options.ping_every,
                     .tariff = options.tariff,
                     .only_model = pool.size() == 1,
                     .metrics = metrics,
                     .log = log,
                     .models = ids_of(options.models)},
      AnswersLinks{.prepare = [this](Preparer::Job job) { preparer->add(std::move(job)); },
                   .order = [this](AnswerOrder order) { loop.order(std::move(order)); },
                   .cancel = [this](uint64_t key) { loop.cancel(key); },
                   .forget = [this](uint64_t key) { pool.cancel(key); },
                   .mark = add_marks},
      parts.budget, parts.clock);
  routes = std::make_unique<Routes>(
      RoutesOptions{.host = options.host,
                    .loopback = http->is_loopback(),
                    .keys = std::make_shared<const Keys>(options.keys)},
      RoutesLinks{.models = [this] { return pool.views(); },
                  .status_json = [this] { return status_json(); },
                  .metrics = [this] { return metrics_text(); },
                  .mark = add_marks,
                  .record =
                      [this](const HttpRequest& request, const Caller& caller, int status,
                             std::string_view error) {
                        log.add({.id = request.id,
                                 .key = caller ? std::string_view(caller->name) : "",
                                 .path = request.path,
                                 .status = status,
                                 .error = error});
                      }},
      *answers, parts.clock);
  return {};
}

// The headers of every reply: which model this is, and what is left of the budget.
void Server::State::mark(HttpReply& reply, size_t model) const {
  reply.headers.emplace_back("x-ration-model", header_text(pool.id(model)));
  reply.headers.emplace_back("x-ration-budget-remaining",
                             fmt::format("bytes={}", parts.budget.available().count));
}

// On the io thread.
std::string Server::State::status_json() const {
  const BudgetReport report = parts.budget.report();
  const int64_t active = loop.active();
  return fmt::format(
      ",\"memory\":{{\"used_bytes\":{},\"peak_bytes\":{},\"limit_bytes\":{}}},\"answers\":"
      "{{\"active\":{},\"waiting\":{}}},\"connections\":{}",
      report.used_total.count, report.peak_total.count, parts.budget.hard().count, active,
      std::max<int64_t>(0, answers->choices() - active), http->connections());
}

// On the io thread.
std::string Server::State::metrics_text() {
  const int64_t active = loop.active();
  std::vector<std::string_view> states;
  for (const ModelView& model : pool.views()) states.push_back(model.status);
  return metrics.text({.states = std::move(states),
                       .active = active,
                       .waiting = std::max<int64_t>(0, answers->choices() - active),
                       .connections = http->connections(),
                       .uptime_seconds = parts.clock.since(start_ns).count / 1000,
                       .memory_limit = parts.budget.hard(),
                       .memory = parts.budget.report()});
}

// On the io thread.
void Server::State::reload() {
  std::optional<ServeReload> changed = options.reload ? options.reload() : std::nullopt;
  if (!changed) return;
  routes->set_keys(std::make_shared<const Keys>(std::move(changed->keys)));
  answers->set_tariff(std::move(changed->tariff));
}

void Server::State::stop(Millis grace) {
  http->post([this] { answers->begin_stop(); });
  http->drain();
  pool.close();
  loop.stop(grace);
}

Result<std::unique_ptr<Server>> Server::listen(const ServeParts& parts, ServeOptions options) {
  CHECK(!options.models.empty() && !options.models.front().names.empty());
  auto state = std::make_unique<State>(parts, std::move(options));
  if (Status opened = state->open(); !opened) return opened.error();
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

int Server::port() const { return state_->http->port(); }
bool Server::writes() const { return state_->pool.views().front().card.writes; }
std::string Server::url() const { return "http://" + state_->http->address(); }
int64_t Server::connections() const { return state_->http->connections(); }

int Server::run() {
  State& state = *state_;
  state.preparer = std::make_unique<Preparer>(
      state.parts.clock, state.pool, state.options.sampler,
      [&state](const Preparer::Job& job, Prepared result) {
        state.http->post([&state, key = job.key, model = job.model, lease = job.lease,
                          result = std::make_shared<Prepared>(std::move(result))] {
          state.answers->prepared(key, model, lease, std::move(*result));
        });
      });
  if (state.options.catch_signals) {
    state.http->on_signals([&state](int number) {
      if (number == SIGHUP) return state.reload();
      const bool again = state.signal.exchange(number) != 0;
      state.stop(again ? Millis{0} : state.options.grace);
    });
  }
  state.pool.start();
  state.http->start();
  state.loop.run();
  state.pool.stop();
  state.preparer.reset();
  // What was still being prepared.
  state.http->post([&state] { state.answers->refuse_all(); });
  state.http->stop(kFlushMax);
  return state.signal;
}

void Server::stop() { state_->stop(state_->options.grace); }

}  // namespace ration
