// serve/port_owner.h - which program listens on a port. Private to serve/.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace ration {

// "ollama (process 4711)", from /proc/net/tcp, tcp6 and every /proc/PID/fd; nullopt when it cannot
// be seen (another user's process) or nothing listens there.
std::optional<std::string> port_owner(int port, const std::filesystem::path& proc = "/proc");

}  // namespace ration
