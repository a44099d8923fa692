// test/model/store/local_server.h - an HTTP server on 127.0.0.1 that misbehaves as a test says.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace ration {

struct SeenRequest {
  std::string target;                          // as the client sent it
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto at = headers.find(name);
    return at == headers.end() ? "" : at->second;
  }
  // The number in "Range: bytes=N-"; 0 without one.
  int64_t range_begin() const;
};

// One request's way back to the client; closed when the handler returns.
class Answer {
 public:
  Answer(int socket, const std::atomic<bool>& stopping, std::atomic<int64_t>& body_bytes)
      : socket_(socket), stopping_(stopping), body_bytes_(body_bytes) {}

  // "200 OK" and header lines without line ends.
  void head(std::string_view status, const std::vector<std::string>& headers);
  // False once the client is gone.
  bool body(std::string_view bytes);
  // Says nothing until the client goes away or the server stops.
  void stall();
  // The whole file the way a good server sends it, ranges and If-Range included. `cut_after`: bytes
  // of body before the connection breaks.
  void file(const SeenRequest& request, const std::string& content, const std::string& etag,
            size_t cut_after = std::string::npos);

 private:
  bool send_all(std::string_view bytes);
  int socket_;
  const std::atomic<bool>& stopping_;
  std::atomic<int64_t>& body_bytes_;
};

class LocalServer {
 public:
  // `number` counts requests from 1. Handlers of different connections may run at the same time.
  using Handler = std::function<void(const SeenRequest& request, int number, Answer& answer)>;
  explicit LocalServer(Handler handler);
  ~LocalServer();

  std::string host() const;  // "127.0.0.1:PORT"
  std::string url(const std::string& path) const { return "http://" + host() + path; }
  std::vector<SeenRequest> seen() const;
  int64_t body_bytes() const { return body_bytes_; }  // sent, or being sent right now

 private:
  void accept_all();
  void serve(int socket);

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> body_bytes_ = 0;
  mutable std::mutex lock_;
  std::vector<SeenRequest> seen_;
  std::list<std::thread> connections_;
  std::thread acceptor_;
};

}  // namespace ration
