// ration serve: the chat API over HTTP, until Ctrl-C.
#include <fmt/core.h>

#include <algorithm>
#include <csignal>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/service.h"
#include "app/session.h"
#include "serve/serve.h"

namespace ration {
namespace {

constexpr int64_t kOwnFiles = 64;  // that are open beside connections

// What requests may call the model: its name, and what the command line called it.
std::vector<std::string> model_names(const Session& session, const Settings& settings) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (!name.empty() && std::ranges::find(names, name) == names.end()) names.push_back(name);
  };
  add(session.name);
  add(settings.model.empty() ? Store::default_model() : settings.model);
  return names;
}

std::string try_line(const std::string& url, bool with_key) {
  return fmt::format(
      "ration: try: curl {}{}/v1/chat/completions -d "
      "'{{\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'",
      with_key ? "-H 'Authorization: Bearer YOUR_KEY' " : "", url);
}

RequestLogOptions log_options(const Settings& settings) {
  if (!settings.log_requests) return {};
  return {.write = note, .bodies = settings.log_prompts};
}

// What SIGHUP changes; a file that is wrong changes nothing.
std::optional<ServeReload> reload(const Settings& settings) {
  notify_service("STATUS=reading the configuration again");
  Result<Config> config = read_config(settings);
  Result<std::vector<ServeKey>> keys =
      config ? keys_to_serve(*config) : Result<std::vector<ServeKey>>(config.error());
  if (!keys) {
    note("ration: the configuration is as it was: " + keys.error().message);
    return std::nullopt;
  }
  note(
      fmt::format("ration: keys ({}) and prices are read again; anything else holds from the next "
                  "start",
                  keys->size()));
  return ServeReload{.keys = std::move(*keys), .tariff = std::move(config->tariff)};
}

void warn_of_strangers(const ServeOptions& options, std::string_view url) {
  const bool loopback = url.find("//127.") != url.npos || url.find("//[::1]") != url.npos;
  if (loopback || !options.keys.empty()) return;
  note(
      "ration: warning: whoever reaches this address may use it: [[keys]] in the configuration "
      "says who may");
}

}  // namespace

Result<int> run_serve(const Settings& settings) {
  Result<std::unique_ptr<Session>> opened =
      Session::open(settings, {.sequences = settings.sequences_max, .speculates = true});
  if (!opened) return opened.error();
  Session& session = **opened;
  if (interrupted()) return kInterrupted;
  const Result<std::optional<int>> socket = inherited_socket();
  if (!socket) return socket.error();
  Result<std::vector<ServeKey>> keys = keys_to_serve(session.config);
  if (!keys) return keys.error();
  const int64_t files = raise_open_files(settings.connections_max + kOwnFiles);
  if (files < settings.connections_max + kOwnFiles) {
    note(
        fmt::format("ration: warning: {} connections are to be served, but this process may open "
                    "{} files: raise its limit (ulimit -n, LimitNOFILE=)",
                    settings.connections_max, files));
  }
  const ServeOptions options{.host = settings.host,
                             .port = settings.port,
                             .socket = socket->value_or(-1),
                             .names = model_names(session, settings),
                             .sampler = settings.sampler,
                             .tariff = session.config.tariff,
                             .keys = std::move(*keys),
                             .log = log_options(settings),
                             .connections_max = settings.connections_max,
                             .catch_signals = true,
                             .reload = [&settings] { return reload(settings); }};
  Result<std::unique_ptr<Server>> server = Server::listen({.model = *session.model,
                                                           .engine = *session.engine,
                                                           .runner = *session.runner,
                                                           .budget = session.budget,
                                                           .clock = session.clock},
                                                          options);
  if (!server) return server.error();
  if (!settings.quiet) note("ration: " + session.summary());
  const std::string url = (*server)->url();
  print(fmt::format("ration: {} answers at {}/v1\n", options.names.front(), url));
  if (!settings.quiet) print(try_line(url, !options.keys.empty()) + "\n");
  if (!settings.quiet) warn_of_strangers(options, url);
  notify_service(fmt::format("READY=1\nSTATUS={} answers at {}", options.names.front(), url));
  const int signal = (*server)->run();
  if (!settings.quiet) note("ration: stopped");
  return signal == SIGINT ? kInterrupted : kDone;
}

}  // namespace ration
