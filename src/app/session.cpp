#include "app/session.h"

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "app/interrupt.h"
#include "base/file.h"

namespace ration {

Result<std::unique_ptr<Session>> Session::open(const Settings& settings,
                                               const SessionNeeds& needs) {
  Result<Host::Start> start = Host::start(settings);
  if (!start) return start.error();
  auto session = std::make_unique<Session>(settings, std::move(*start));
  const Result<ResolvedModel> resolved = resolve_model(settings, session->clock);
  if (!resolved) return resolved.error();
  Status opened = session->OpenModel::open(
      *resolved, settings, needs,
      {.host = *session, .budget = session->budget, .pool = session->pool, .stops = [] {
         return interrupted().load();
       }});
  if (!opened) return opened.error();
  return session;
}

Result<std::string> read_input(const std::string& path) {
  constexpr Bytes kInputMax{64 * kMiB};
  if (path != "-") return read_file(path, kInputMax);
  std::string text;
  std::array<char, 64 * kKiB> chunk{};
  while (true) {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&input, 1, 100);  // so that Ctrl-C is seen even just before the wait
    if (interrupted()) return Error{Code::kCancelled, "interrupted"};
    if (ready <= 0) continue;
    const ssize_t count = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (count == 0) return text;
    if (count < 0 && errno != EINTR && errno != EAGAIN) {
      return Error{Code::kIo, "cannot read standard input: " + error_text(errno)};
    }
    text.append(chunk.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (static_cast<int64_t>(text.size()) > kInputMax.count) {
      return Error{Code::kInvalid, fmt::format("found more than {} on standard input, wanted less",
                                               to_text(kInputMax))};
    }
  }
}

}  // namespace ration
