#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <csignal>

#include "serve/answers.h"
#include "serve/chat_traits.h"
#include "serve/engine_loop.h"
#include "serve/http.h"
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
        traits(chat_traits(parts.model)),
        created(unix_seconds()),
        start_ns(parts.clock.now_ns()),
        metrics(options.names.front()),
        log(options.log),
        loop(
            parts.runner, parts.model.tokenizer(), parts.clock, options.news_every,
            [this](std::vector<AnswerNews> news) {
              http->post([this, news = std::make_shared<std::vector<AnswerNews>>(std::move(news))] {
                answers->on_news(std::move(*news));
              });
            },
            [this](Millis since_last) { metrics.next_token(since_last); }) {}

  Status open();
  ServedModel served() const;
  void mark(HttpReply& reply) const;
  std::string status_json() const;
  std::string metrics_text();
  void reload();
  void stop(Millis grace);

  const ServeParts parts;
  const ServeOptions options;
  const ChatTraits traits;
  const int64_t created;
  const int64_t start_ns;
  ServerMetrics metrics;
  const RequestLog log;
  std::atomic<int> signal = 0;
  EngineLoop loop;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Answers> answers;
  std::unique_ptr<Routes> routes;
  std::unique_ptr<Preparer> preparer;
};

Status Server::State::open() {
  Result<std::unique_ptr<HttpServer>> listening = HttpServer::listen(
      http_options(options), parts.budget,
      [this](HttpRequest request, std::shared_ptr<Exchange> exchange) {
        routes->handle(std::move(request), exchange);
      },
      [this](std::string_view path, int status, std::string_view code, const Error& error) {
        HttpReply reply = http_refusal(path, status, code, error);
        mark(reply);
        return reply;
      });
  if (!listening) return listening.error();
  http = std::move(*listening);
  const int64_t sequences = parts.engine.options().logit_rows_max;
  const auto add_marks = [this](HttpReply& reply) { mark(reply); };
  answers = std::make_unique<Answers>(
      AnswersOptions{.choices_max = options.waiting_max + sequences,
                     .ping_every = options.ping_every,
                     .tariff = options.tariff,
                     .traits = traits,
                     .metrics = metrics,
                     .log = log,
                     .model = options.names.front()},
      AnswersLinks{.prepare = [this](Preparer::Job job) { preparer->add(std::move(job)); },
                   .order = [this](AnswerOrder order) { loop.order(std::move(order)); },
                   .cancel = [this](uint64_t key) { loop.cancel(key); },
                   .mark = add_marks},
      parts.budget, parts.clock);
  routes = std::make_unique<Routes>(
      RoutesOptions{.served = served(),
                    .host = options.host,
                    .loopback = http->is_loopback(),
                    .keys = std::make_shared<const Keys>(options.keys)},
      RoutesLinks{.status_json = [this] { return status_json(); },
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

ServedModel Server::State::served() const {
  return {.model = parts.model,
          .traits = traits,
          .names = options.names,
          .context = parts.engine.options().context,
          .created = created};
}

// The headers of every reply: which model this is, and what is left of the budget.
void Server::State::mark(HttpReply& reply) const {
  reply.headers.emplace_back("x-ration-model", header_text(options.names.front()));
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
  return metrics.text({.active = active,
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
      state.parts.clock, PrepareOptions{.served = state.served(), .sampler = state.options.sampler},
      [&state](const Preparer::Job& job, Prepared result) {
        state.http->post(
            [&state, key = job.key, result = std::make_shared<Prepared>(std::move(result))] {
              state.answers->prepared(key, std::move(*result));
            });
      });
  if (state.options.catch_signals) {
    state.http->on_signals([&state](int number) {
      if (number == SIGHUP) return state.reload();
      const bool again = state.signal.exchange(number) != 0;
      state.stop(again ? Millis{0} : state.options.grace);
    });
  }
  state.http->start();
  state.loop.run();
  state.preparer.reset();
  // What was still being prepared.
  state.http->post([&state] { state.answers->refuse_all(); });
  state.http->stop(kFlushMax);
  return state.signal;
}

void Server::stop() { state_->stop(state_->options.grace); }

}  // namespace ration
