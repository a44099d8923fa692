// app/service.h - what a service manager gives a program that it starts, and wants to hear of it.
//
// Source: sd_notify(3) and sd_listen_fds(3), which describe both so that programs can do without
// the library: a datagram of words, and descriptors counted in two variables. Where nobody set them
// all of this does nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace ration {

// Sends e.g. "READY=1\nSTATUS=..." to $NOTIFY_SOCKET.
void notify_service(std::string_view words);

// The listening socket that was handed over ($LISTEN_FDS, $LISTEN_PID); none: there is none.
// kInvalid when there are several, or it is no TCP socket that listens.
Result<std::optional<int>> inherited_socket();

// Lets this process open `count` files, as far as its hard limit allows; returns how many it may.
int64_t raise_open_files(int64_t count);

}  // namespace ration
