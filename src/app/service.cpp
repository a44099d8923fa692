#include "app/service.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/log.h"

namespace ration {
namespace {

constexpr int kFirstSocket = 3;  // SD_LISTEN_FDS_START

std::optional<int64_t> number_of(const char* variable) {
  const char* text = std::getenv(variable);
  if (!text || !*text) return std::nullopt;
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  return *end == '\0' ? std::optional<int64_t>(value) : std::nullopt;
}

int option_of(int socket, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

}  // namespace

void notify_service(std::string_view words) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (!path || (*path != '/' && *path != '@')) return;
  sockaddr_un to{};
  const std::string_view name(path);
  if (name.size() >= sizeof to.sun_path) return;
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, name.data(), name.size());
  if (*path == '@') to.sun_path[0] = '\0';  // an abstract socket
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::sendto(socket, words.data(), words.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to),
               size) < 0) {
    log(Level::kWarning, fmt::format("cannot tell the service manager: {}", std::strerror(errno)));
  }
  ::close(socket);
}

Result<std::optional<int>> inherited_socket() {
  const std::optional<int64_t> count = number_of("LISTEN_FDS");
  if (!count || *count == 0 || number_of("LISTEN_PID") != ::getpid()) {
    return std::optional<int>();
  }
  if (*count != 1) {
    return Error{Code::kInvalid,
                 fmt::format("found {} sockets from the service manager, wanted one", *count)};
  }
  const int domain = option_of(kFirstSocket, SO_DOMAIN);
  if (option_of(kFirstSocket, SO_ACCEPTCONN) != 1 || (domain != AF_INET && domain != AF_INET6)) {
    return Error{Code::kInvalid,
                 "found a socket from the service manager that is not TCP and listening, wanted "
                 "ListenStream=ADDRESS:PORT"};
  }
  ::fcntl(kFirstSocket, F_SETFD, FD_CLOEXEC);
  return std::optional<int>(kFirstSocket);
}

int64_t raise_open_files(int64_t count) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlim_t wanted = std::min(static_cast<rlim_t>(count), limit.rlim_max);
  if (wanted > limit.rlim_cur) {
    limit.rlim_cur = wanted;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  return static_cast<int64_t>(limit.rlim_cur);
}

}  // namespace ration
