// ration top: a running server, watched.
#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/interrupt.h"
#include "app/output.h"
#include "app/top_view.h"
#include "base/clock.h"
#include "model/store/store.h"

namespace ration {
namespace {

constexpr Bytes kMetricsMax{4 * kMiB};

Result<MetricsReading> read_metrics(const std::string& url, const Clock& clock) {
  const Result<std::string> text = fetch_text(url + "/metrics", kMetricsMax, clock);
  if (!text) return text.error();
  return MetricsReading::parse(*text);
}

void wait(Millis span, const Clock& clock) {
  const int64_t start_ns = clock.now_ns();
  while (!interrupted() && clock.since(start_ns) < span) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

Result<int> run_top(const Settings& settings) {
  std::string url = settings.model.empty()
                        ? fmt::format("http://{}:{}", settings.host, settings.port)
                        : settings.model;
  if (!url.starts_with("http://") && !url.starts_with("https://")) url = "http://" + url;
  while (url.ends_with('/')) url.pop_back();
  const SteadyClock clock;
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  Result<MetricsReading> before = read_metrics(url, clock);
  if (!before) return before.error();
  if (!terminal) {
    const Millis up{before->sum("ration_uptime_seconds") * 1000};
    return print(top_text(url, {}, *before, up)) ? kDone : kFailed;
  }
  int64_t before_ns = clock.now_ns();
  while (true) {
    wait(settings.every, clock);
    if (interrupted()) break;
    Result<MetricsReading> now = read_metrics(url, clock);
    if (!now) return now.error();
    const int64_t now_ns = clock.now_ns();
    const Millis span = to_millis(now_ns - before_ns);
    // Home, the lines, and nothing below them.
    if (!print("\x1b[H\x1b[2J" + for_terminal(top_text(url, *before, *now, span)))) return kFailed;
    before = std::move(now);
    before_ns = now_ns;
  }
  return print("\n") ? kInterrupted : kFailed;
}

}  // namespace ration
