#include "model/store/process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "base/file.h"

namespace ration {
namespace {

// The three things posix_spawn wants, freed on every way out.
struct SpawnSettings {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
};

std::vector<std::string> merged_environment(
    const std::vector<std::pair<std::string, std::string>>& changes) {
  std::vector<std::string> merged;
  for (char** variable = environ; *variable; ++variable) {
    const std::string text = *variable;
    bool replaced = false;
    for (const auto& [name, value] : changes) replaced |= text.starts_with(name + "=");
    if (!replaced) merged.push_back(text);
  }
  for (const auto& [name, value] : changes) merged.push_back(name + "=" + value);
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

int exit_code(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

Result<Process> Process::start(const Options& options) {
  SpawnSettings settings;
  ::posix_spawn_file_actions_addopen(&settings.files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  const auto redirect = [&](int from, int to) {
    if (from < 0) {
      ::posix_spawn_file_actions_addopen(&settings.files, to, "/dev/null", O_WRONLY, 0);
    } else {
      ::posix_spawn_file_actions_adddup2(&settings.files, from, to);
    }
  };
  redirect(options.output, STDOUT_FILENO);
  redirect(options.errors, STDERR_FILENO);
  if (options.inherited >= 0) {  // onto itself: clears its close-on-exec flag in the child only
    ::posix_spawn_file_actions_adddup2(&settings.files, options.inherited, options.inherited);
  }
  sigset_t none;
  sigset_t defaults;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGXFSZ}) ::sigaddset(&defaults, number);
  ::posix_spawnattr_setsigmask(&settings.attributes, &none);
  ::posix_spawnattr_setsigdefault(&settings.attributes, &defaults);
  ::posix_spawnattr_setflags(&settings.attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> arguments = options.arguments;
  std::vector<std::string> environment = merged_environment(options.environment);
  pid_t id = -1;
  const int problem =
      ::posix_spawnp(&id, arguments.front().c_str(), &settings.files, &settings.attributes,
                     pointers(arguments).data(), pointers(environment).data());
  if (problem != 0) {
    return Error{problem == ENOENT ? Code::kNotFound : Code::kIo,
                 fmt::format("cannot start {}: {}", arguments.front(), error_text(problem))};
  }
  return Process(id);
}

std::optional<int> Process::poll() {
  CHECK(id_ > 0);
  int status = 0;
  const pid_t ended = ::waitpid(id_, &status, WNOHANG);
  if (ended == 0 || (ended < 0 && errno == EINTR)) return std::nullopt;
  const int code = ended < 0 ? 127 : exit_code(status);
  id_ = -1;
  return code;
}

int Process::wait() {
  while (true) {
    if (const std::optional<int> code = poll()) return *code;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

void Process::stop() {
  if (id_ <= 0) return;
  const pid_t group = id_;
  ::kill(-group, SIGTERM);
  for (int i = 0; i < 200; ++i) {
    if (poll()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::kill(-group, SIGKILL);
  wait();
}

}  // namespace ration
