// ration serve: models over HTTP, until Ctrl-C.
#include <fmt/core.h>

#include <algorithm>
#include <csignal>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/served_models.h"
#include "app/service.h"
#include "serve/serve.h"

namespace ration {
namespace {

constexpr int64_t kOwnFiles = 64;  // that are open beside connections

std::string try_line(const std::string& url, bool writes, bool with_key) {
  const std::string_view call =
      writes ? R"(/v1/chat/completions -d '{"messages":[{"role":"user","content":"Hello!"}]}')"
             : R"(/v1/embeddings -d '{"input":"Hello!"}')";
  return fmt::format("ration: try: curl {}{}{}",
                     with_key ? "-H 'Authorization: Bearer YOUR_KEY' " : "", url, call);
}

RequestLogOptions log_options(const Settings& settings) {
  if (!settings.log_requests) return {};
  return {.write = note, .bodies = settings.log_prompts};
}

// What SIGHUP changes; a file that is wrong changes nothing.
std::optional<ServeReload> reload(const Settings& settings) {
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

// "a answers at URL, and b, c on demand"
std::string ready_line(const std::vector<ServeModel>& models, std::string_view url) {
  std::string line = fmt::format("{} answers at {}", models.front().names.front(), url);
  for (size_t i = 1; i < models.size(); ++i) {
    line += fmt::format("{} {}", i == 1 ? ", and" : ",", models[i].names.front());
  }
  return models.size() > 1 ? line + " on demand" : line;
}

}  // namespace

Result<int> run_serve(const Settings& settings) {
  Result<std::unique_ptr<ServedModels>> opened = ServedModels::open(settings);
  if (!opened) return opened.error();
  ServedModels& served = **opened;
  if (interrupted()) return kInterrupted;
  const Result<std::optional<int>> socket = inherited_socket();
  if (!socket) return socket.error();
  Result<std::vector<ServeKey>> keys = keys_to_serve(served.host().config);
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
                             .models = served.models(),
                             .pool = served.pool(),
                             .helper_pool = served.helper_pool(),
                             .sampler = settings.sampler,
                             .tariff = served.host().config.tariff,
                             .keys = std::move(*keys),
                             .log = log_options(settings),
                             .sequences_max = settings.sequences_max,
                             .connections_max = settings.connections_max,
                             .catch_signals = true,
                             .reload = [&settings] { return reload(settings); }};
  Result<std::unique_ptr<Server>> server = Server::listen(
      {.loader = served, .budget = served.host().budget, .clock = served.host().clock}, options);
  if (!server) return server.error();
  const std::string url = (*server)->url();
  print(fmt::format("ration: {}\n", ready_line(options.models, url + "/v1")));
  if (!settings.quiet) print(try_line(url, (*server)->writes(), !options.keys.empty()) + "\n");
  if (!settings.quiet) warn_of_strangers(options, url);
  notify_service("READY=1\nSTATUS=" + ready_line(options.models, url));
  const int signal = (*server)->run();
  if (!settings.quiet) note("ration: stopped");
  return signal == SIGINT ? kInterrupted : kDone;
}

}  // namespace ration
