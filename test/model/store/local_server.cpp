#include "local_server.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/check.h"

namespace ration {

int64_t SeenRequest::range_begin() const {
  const std::string range = header("range");
  return range.starts_with("bytes=") ? std::atoll(range.c_str() + 6) : 0;
}

bool Answer::send_all(std::string_view bytes) {
  while (!bytes.empty()) {
    pollfd writable{.fd = socket_, .events = POLLOUT, .revents = 0};
    if (stopping_) return false;
    if (::poll(&writable, 1, 20) <= 0) continue;
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void Answer::head(std::string_view status, const std::vector<std::string>& headers) {
  std::string text = fmt::format("HTTP/1.1 {}\r\nConnection: close\r\n", status);
  for (const std::string& header : headers) text += header + "\r\n";
  send_all(text + "\r\n");
}

bool Answer::body(std::string_view bytes) {
  constexpr size_t kPiece = 64 * 1024;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kPiece);
    // Counted before it goes out: who has read the last byte finds it counted.
    body_bytes_ += static_cast<int64_t>(piece.size());
    if (!send_all(piece)) return false;
    bytes.remove_prefix(piece.size());
  }
  return true;
}

void Answer::stall() {
  while (!stopping_) {
    pollfd readable{.fd = socket_, .events = POLLIN, .revents = 0};
    char byte = 0;
    if (::poll(&readable, 1, 10) > 0 && ::recv(socket_, &byte, 1, MSG_DONTWAIT) <= 0) return;
  }
}

void Answer::file(const SeenRequest& request, const std::string& content, const std::string& etag,
                  size_t cut_after) {
  auto begin = static_cast<size_t>(request.range_begin());
  const std::string only_if = request.header("if-range");
  if (!only_if.empty() && only_if != etag) begin = 0;
  if (begin > 0 && begin >= content.size()) {
    head("416 Range Not Satisfiable", {fmt::format("Content-Range: bytes */{}", content.size())});
    return;
  }
  std::vector<std::string> headers{fmt::format("Content-Length: {}", content.size() - begin)};
  if (!etag.empty()) headers.push_back("ETag: " + etag);
  if (begin > 0) {
    headers.push_back(
        fmt::format("Content-Range: bytes {}-{}/{}", begin, content.size() - 1, content.size()));
  }
  head(begin > 0 ? "206 Partial Content" : "200 OK", headers);
  body(std::string_view(content).substr(begin, cut_after));
}

LocalServer::LocalServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(listener_ >= 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), length) == 0);
  CHECK(::listen(listener_, 16) == 0);
  CHECK(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

LocalServer::~LocalServer() {
  stopping_ = true;
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
  ::close(listener_);
}

std::string LocalServer::host() const { return fmt::format("127.0.0.1:{}", port_); }

std::vector<SeenRequest> LocalServer::seen() const {
  const std::lock_guard guard(lock_);
  return seen_;
}

void LocalServer::accept_all() {
  while (!stopping_) {
    pollfd waiting{.fd = listener_, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10) <= 0) continue;
    const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket >= 0) connections_.emplace_back([this, socket] { serve(socket); });
  }
}

void LocalServer::serve(int socket) {
  std::string text;
  char buffer[4096];
  while (!stopping_ && text.find("\r\n\r\n") == std::string::npos) {
    pollfd readable{.fd = socket, .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, 10) <= 0) continue;
    const ssize_t got = ::recv(socket, buffer, sizeof(buffer), 0);
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  if (text.find("\r\n\r\n") != std::string::npos) {
    SeenRequest request;
    const size_t space = text.find(' ');
    request.target = text.substr(space + 1, text.find(' ', space + 1) - space - 1);
    for (size_t line = text.find("\r\n") + 2; text.substr(line, 2) != "\r\n";) {
      const size_t end = text.find("\r\n", line);
      const size_t colon = text.find(": ", line);
      std::string name = text.substr(line, colon - line);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      request.headers[name] = text.substr(colon + 2, end - colon - 2);
      line = end + 2;
    }
    int number = 0;
    {
      const std::lock_guard guard(lock_);
      seen_.push_back(request);
      number = static_cast<int>(seen_.size());
    }
    Answer answer(socket, stopping_, body_bytes_);
    handler_(request, number, answer);
  }
  ::shutdown(socket, SHUT_RDWR);
  ::close(socket);
}

}  // namespace ration
