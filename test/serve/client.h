// test/serve/client.h - an HTTP client over a bare socket, that can misbehave. For tests.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace ration {

struct Response {
  int status = 0;                              // 0: the connection ended before an answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool whole = false;  // its end was seen

  // "" when it was not sent.
  std::string header(const std::string& name) const {
    const auto found = headers.find(name);
    return found == headers.end() ? "" : found->second;
  }
  Json json() const {
    Result<Json> parsed = parse_json(body);
    EXPECT_TRUE(parsed) << body;
    return parsed ? *parsed : Json();
  }
};

class Client {
 public:
  // receive_bytes: of the kernel's buffer; 0: its own choice.
  explicit Client(int port, int receive_bytes = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_bytes > 0) {
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    connected_ =
        ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  // False when the server has closed.
  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  void post(const std::string& body, const std::string& path = "/v1/chat/completions",
            const std::string& headers = "") {
    send("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
         headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  void get(const std::string& path, const std::string& headers = "") {
    send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n");
  }

  // The next answer, whole. body: with the chunks joined.
  Response read_response() {
    Response response = read_head();
    if (response.status == 0) return response;
    if (response.header("transfer-encoding") == "chunked") {
      while (true) {
        const std::pair<bool, std::string> chunk = read_chunk();
        if (!chunk.first) return response;
        if (chunk.second.empty()) break;
        response.body += chunk.second;
      }
    } else if (response.headers.contains("content-length")) {
      const size_t length = std::stoul(response.headers["content-length"]);
      while (input_.size() < length) {
        if (!receive()) return response;
      }
      response.body = take(length);
    } else {
      while (receive()) {
      }
      response.body = take(input_.size());
    }
    response.whole = true;
    return response;
  }

  Response read_head() {
    Response response;
    size_t end = 0;
    while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return response;
    }
    const std::string head = take(end + 4);
    response.status = std::stoi(head.substr(9, 3));
    for (size_t begin = head.find("\r\n") + 2; begin + 2 < head.size();) {
      const size_t stop = head.find("\r\n", begin);
      const std::string line = head.substr(begin, stop - begin);
      const size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      response.headers[name] = line.substr(colon + 2);
      begin = stop + 2;
    }
    return response;
  }

  // {true, ""} is the last one; {false, ...}: the connection ended.
  std::pair<bool, std::string> read_chunk() {
    size_t line = 0;
    while ((line = input_.find("\r\n")) == std::string::npos) {
      if (!receive()) return {false, ""};
    }
    const size_t size = std::stoul(input_.substr(0, line), nullptr, 16);
    while (input_.size() < line + 2 + size + 2) {
      if (!receive()) return {false, ""};
    }
    take(line + 2);
    std::string chunk = take(size);
    take(2);
    return {true, chunk};
  }

  // Whether the server closes within `ms`; what it sends before is dropped.
  bool closes_within(int ms) {
    input_.clear();
    return !receive(ms) || closes_within(ms);
  }
  // Whether anything comes within `ms`.
  bool hears_within(int ms) {
    pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, ms) == 1;
  }

 private:
  // False at the end of the connection, and when nothing comes for long.
  bool receive(int ms = 20'000) {
    if (!hears_within(ms)) return false;
    char bytes[16 * 1024];
    const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
    if (got <= 0) return false;
    input_.append(bytes, static_cast<size_t>(got));
    return true;
  }
  std::string take(size_t count) {
    std::string out = input_.substr(0, count);
    input_.erase(0, count);
    return out;
  }

  int socket_;
  bool connected_ = false;
  std::string input_;
};

// The JSON of each event of a stream; comments are dropped, "[DONE]" is null.
inline std::vector<Json> events_of(const std::string& body) {
  std::vector<Json> events;
  for (size_t begin = 0; begin < body.size();) {
    const size_t end = std::min(body.find("\n\n", begin), body.size());
    const std::string event = body.substr(begin, end - begin);
    begin = end + 2;
    if (!event.starts_with("data: ")) continue;
    const std::string data = event.substr(6);
    if (data == "[DONE]") {
      events.emplace_back();
      continue;
    }
    Result<Json> parsed = parse_json(data);
    EXPECT_TRUE(parsed) << data;
    if (parsed) events.push_back(*parsed);
  }
  return events;
}

// The text that the events of one answer make.
inline std::string text_of(const std::vector<Json>& events) {
  std::string text;
  for (const Json& event : events) {
    if (event.is_null() || !event.contains("choices") || event["choices"].empty()) continue;
    const Json& delta = event["choices"][0]["delta"];
    if (delta.contains("content")) text += delta["content"].get<std::string>();
  }
  return text;
}

}  // namespace ration
