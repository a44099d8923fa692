#include "model/store/http.h"

#include <fmt/core.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <memory>

#include "base/text.h"
#include "model/store/curl.h"

namespace ration {
namespace {

constexpr int kTransferPollMs = 50;
constexpr size_t kHeaderBytesMax = 256 * 1024;  // all answers of one request together

Bytes parse_count(std::string_view text) {
  int64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return Bytes{problem == std::errc() && end == text.data() + text.size() && value >= 0 ? value
                                                                                        : -1};
}

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// "bytes 100-199/200", or "bytes */200" of a 416
void parse_content_range(std::string_view text, HttpHead& head) {
  if (!text.starts_with("bytes ")) return;
  text.remove_prefix(6);
  if (text.starts_with("*/")) {
    head.range_total = parse_count(text.substr(2));
    return;
  }
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return;
  head.range_begin = parse_count(text.substr(0, dash));
  head.range_total = parse_count(text.substr(slash + 1));
}

// Frees what libcurl made.
struct Release {
  void operator()(CURL* easy) const { CurlLibrary::get().easy_cleanup(easy); }
  void operator()(curl_slist* list) const { CurlLibrary::get().slist_free_all(list); }
};
struct ReleaseMulti {
  void operator()(CURLM* multi) const { CurlLibrary::get().multi_cleanup(multi); }
};

// A server that hangs up while we write must not end the process, whatever the program does about
// SIGPIPE: it is held back on this thread and thrown away afterwards.
class NoBrokenPipeSignal {
 public:
  NoBrokenPipeSignal() {
    ::sigemptyset(&signal_);
    ::sigaddset(&signal_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &signal_, &before_);
  }
  ~NoBrokenPipeSignal() {
    const timespec no_time{};
    while (!was_pending_ && ::sigtimedwait(&signal_, nullptr, &no_time) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoBrokenPipeSignal(const NoBrokenPipeSignal&) = delete;
  NoBrokenPipeSignal& operator=(const NoBrokenPipeSignal&) = delete;

 private:
  sigset_t signal_;
  sigset_t before_;
  bool was_pending_ = false;
};

class Transfer {
 public:
  Transfer(const HttpRequest& request, const HttpHandler& handler, const Clock& clock)
      : curl_(CurlLibrary::get()), request_(request), handler_(handler), clock_(clock) {}

  HttpOutcome run() {
    if (!curl_.problem.empty()) {
      outcome_.error = Error{Code::kUnsupported, curl_.problem};
      return outcome_;
    }
    const NoBrokenPipeSignal quiet;
    easy_.reset(curl_.easy_init());
    multi_.reset(curl_.multi_init());
    CHECK(easy_ && multi_);
    if (!configure()) {
      outcome_.error = Error{Code::kUnsupported, "libcurl is too old: wanted 7.85 or newer"};
      return outcome_;
    }
    CHECK(curl_.multi_add_handle(multi_.get(), easy_.get()) == CURLM_OK);
    const CURLcode code = drive();
    curl_.multi_remove_handle(multi_.get(), easy_.get());
    judge(code);
    return std::move(outcome_);
  }

 private:
  template <class Value>
  bool option(CURLoption name, Value value) {
    return curl_.easy_setopt(easy_.get(), name, value) == CURLE_OK;
  }

  bool configure() {
    add_header("Accept: */*");
    if (!request_.token.empty()) add_header("Authorization: Bearer " + request_.token);
    if (request_.range_begin.count > 0) {
      range_ = fmt::format("{}-", request_.range_begin.count);
      option(CURLOPT_RANGE, range_.c_str());
      if (!request_.if_range.empty()) add_header("If-Range: " + request_.if_range);
    }
    for (const char* name : {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}) {
      if (const char* bundle = std::getenv(name); bundle && *bundle) {
        option(CURLOPT_CAINFO, bundle);
        break;
      }
    }
    // Never down from https to http: that would show what the first host wanted hidden.
    const char* protocols = request_.url.starts_with("https://") ? "https" : "http,https";
    return option(CURLOPT_URL, request_.url.c_str()) &&
           option(CURLOPT_HTTPHEADER, headers_.get()) &&
           option(CURLOPT_PROTOCOLS_STR, "http,https") &&
           option(CURLOPT_REDIR_PROTOCOLS_STR, protocols) && option(CURLOPT_FOLLOWLOCATION, 1L) &&
           option(CURLOPT_MAXREDIRS, static_cast<long>(request_.limits.redirects_max)) &&
           option(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request_.limits.connect.count)) &&
           option(CURLOPT_USERAGENT, "ration/" RATION_VERSION) && option(CURLOPT_NOSIGNAL, 1L) &&
           option(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
           option(CURLOPT_BUFFERSIZE, 256L * 1024) &&
           option(CURLOPT_ERRORBUFFER, error_text_.data()) &&
           option(CURLOPT_HEADERFUNCTION, on_header) && option(CURLOPT_HEADERDATA, this) &&
           option(CURLOPT_WRITEFUNCTION, on_bytes) && option(CURLOPT_WRITEDATA, this);
  }

  void add_header(const std::string& line) {
    curl_slist* longer = curl_.slist_append(headers_.get(), line.c_str());
    CHECK(longer);
    static_cast<void>(headers_.release());
    headers_.reset(longer);
  }

  // Runs until the transfer ends or one of us ends it.
  CURLcode drive() {
    window_ns_ = clock_.now_ns();
    while (true) {
      int running = 0;
      if (curl_.multi_perform(multi_.get(), &running) != CURLM_OK) return CURLE_FAILED_INIT;
      if (running == 0) break;
      if (handler_.keep_going && !handler_.keep_going()) {
        own_error_ = Error{Code::kCancelled, "stopped"};
        return CURLE_ABORTED_BY_CALLBACK;
      }
      if (stalled()) return CURLE_OPERATION_TIMEDOUT;
      curl_.multi_poll(multi_.get(), nullptr, 0, kTransferPollMs, nullptr);
    }
    int left = 0;
    const CURLMsg* message = curl_.multi_info_read(multi_.get(), &left);
    return message ? message->data.result : CURLE_FAILED_INIT;
  }

  bool stalled() {
    const int64_t now_ns = clock_.now_ns();
    const Bytes all = received_ + Bytes{static_cast<int64_t>(header_bytes_)};
    if (all - window_start_ >= request_.limits.stall_bytes_min) {
      window_ns_ = now_ns;
      window_start_ = all;
    }
    stalled_ = static_cast<double>(now_ns - window_ns_) * 1e-6 > request_.limits.stall.count;
    return stalled_;
  }

  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    return static_cast<Transfer*>(self)->take_header({data, size * count}) ? size * count : 0;
  }

  bool take_header(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > kHeaderBytesMax) return false;
    HttpHead& head = outcome_.head;
    if (line.starts_with("HTTP/")) {  // also after each redirect
      head = {};
      const size_t space = line.find(' ');
      if (space != std::string_view::npos) {
        head.status = static_cast<int>(parse_count(trimmed(line.substr(space + 1, 3))).count);
      }
      return true;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    std::string name(line.substr(0, colon));
    for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (name == "content-length") head.content_length = parse_count(value);
    if (name == "content-range") parse_content_range(value, head);
    if (name == "etag") head.etag = value;
    if (name == "last-modified") head.last_modified = value;
    if (name == "x-error-code") head.error_code = to_valid_utf8(value.substr(0, 100));
    if (name == "x-error-message") head.error_message = to_valid_utf8(value.substr(0, 300));
    return true;
  }

  static size_t on_bytes(char* data, size_t size, size_t count, void* self) {
    const std::span<const char> bytes(data, size * count);
    return static_cast<Transfer*>(self)->take_bytes(std::as_bytes(bytes)) ? bytes.size() : 0;
  }

  bool good_status() const { return outcome_.head.status == 200 || outcome_.head.status == 206; }

  bool give_head() {
    if (headed_) return true;
    headed_ = true;
    if (!handler_.on_head) return true;
    Status taken = handler_.on_head(outcome_.head);
    if (!taken) own_error_ = taken.error();
    return static_cast<bool>(taken);
  }

  bool take_bytes(std::span<const std::byte> bytes) {
    received_ += Bytes{static_cast<int64_t>(bytes.size())};
    if (!good_status()) return received_.count < 64 * kKiB;  // the page that explains the error
    if (!give_head()) return false;
    Status taken = handler_.on_body(bytes);
    if (!taken) own_error_ = taken.error();
    return static_cast<bool>(taken);
  }

  void fail(std::string message, bool transient, Code code = Code::kNetwork) {
    outcome_.error = Error{code, std::move(message)};
    outcome_.transient = transient;
  }

  void judge(CURLcode code) {
    if (own_error_) {
      outcome_.error = own_error_;
      return;
    }
    const int status = outcome_.head.status;
    // An error's own page may be cut short or too long: its status says enough.
    const bool answered = status >= 400 || (status >= 300 && code == CURLE_OK);
    if (answered) return judge_status(status);
    if (code != CURLE_OK) return judge_code(code);
    if (!good_status()) return fail(fmt::format("{} gave no usable answer", host()), true);
    if (!give_head()) outcome_.error = own_error_;
  }

  void judge_status(int status) {
    const std::string detail =
        outcome_.head.error_message.empty() ? "" : " (" + outcome_.head.error_message + ")";
    switch (status) {
      case 401:
      case 403:
        return fail(fmt::format("{} refused access (status {}){}", host(), status, detail), false);
      case 404:
      case 410:
        return fail(fmt::format("{} has no such file (status {}){}", host(), status, detail), false,
                    Code::kNotFound);
      case 407:
        return fail("the proxy wants a password (status 407)", false);
      case 416:
        return fail(fmt::format("{} does not have the range we asked for (status 416)", host()),
                    false);
      case 429:
        return fail(fmt::format("{} says we ask too often (status 429)", host()), true);
      default:
        fail(fmt::format("{} answered with status {}{}", host(), status, detail),
             status == 408 || status >= 500);
    }
  }

  void judge_code(CURLcode code) {
    switch (code) {
      case CURLE_COULDNT_RESOLVE_HOST:
        outcome_.unreachable = true;
        return fail(fmt::format("{} has no address (is there a network?)", host()), true);
      case CURLE_COULDNT_RESOLVE_PROXY:
        outcome_.unreachable = true;
        return fail("the proxy has no address: check the https_proxy variable", true);
      case CURLE_COULDNT_CONNECT:
        outcome_.unreachable = true;
        return fail(fmt::format("cannot connect to {}: {}{}", host(), words(code), proxy_hint()),
                    true);
      case CURLE_OPERATION_TIMEDOUT:
        outcome_.unreachable = !stalled_;
        return fail(stalled_ ? fmt::format("{} sent nothing for {:.3g} s", host(),
                                           request_.limits.stall.count / 1000)
                             : fmt::format("{} did not answer in {:.3g} s", host(),
                                           request_.limits.connect.count / 1000),
                    true);
      case CURLE_PARTIAL_FILE:
      case CURLE_RECV_ERROR:
      case CURLE_GOT_NOTHING:
      case CURLE_SEND_ERROR:
        return fail(fmt::format("{} closed the connection too early", host()), true);
      case CURLE_TOO_MANY_REDIRECTS:
        return fail(
            fmt::format("{} redirects more than {} times", host(), request_.limits.redirects_max),
            false);
      case CURLE_UNSUPPORTED_PROTOCOL:
        return fail(fmt::format("{} redirects to an address that is not safe to follow", host()),
                    false);
      case CURLE_URL_MALFORMAT:
        return fail(fmt::format("{} is not a web address", request_.url), false, Code::kInvalid);
      case CURLE_PEER_FAILED_VERIFICATION:
        return fail(fmt::format("the certificate of {} is not trusted: {}", host(), words(code)),
                    false);
      default:
        return fail(fmt::format("{}: {}", host(), words(code)), true);
    }
  }

  // libcurl does not tell whether it went by a proxy; its words name the address it tried.
  std::string proxy_hint() const {
    const bool secure = request_.url.starts_with("https://");
    for (const char* name : {secure ? "https_proxy" : "http_proxy",
                             secure ? "HTTPS_PROXY" : "all_proxy", "all_proxy", "ALL_PROXY"}) {
      const char* proxy = std::getenv(name);
      if (!proxy || !*proxy) continue;
      std::string address = url_host(proxy);
      address.resize(std::min(address.size(), address.rfind(':')));
      const bool tried = words(CURLE_COULDNT_CONNECT).find(address) != std::string::npos;
      if (tried && address != url_host(request_.url))
        return fmt::format(" (the proxy of {})", name);
    }
    return "";
  }

  std::string host() const { return url_host(request_.url); }
  std::string words(CURLcode code) const {
    const std::string_view said = error_text_.data();
    return std::string(said.empty() ? curl_.easy_strerror(code) : said);
  }

  const CurlLibrary& curl_;
  const HttpRequest& request_;
  const HttpHandler& handler_;
  const Clock& clock_;
  HttpOutcome outcome_;
  std::optional<Error> own_error_;  // what a handler said
  bool headed_ = false;
  bool stalled_ = false;
  Bytes received_{0};
  size_t header_bytes_ = 0;
  int64_t window_ns_ = 0;  // when the current stall window began
  Bytes window_start_{0};
  std::string range_;
  std::array<char, CURL_ERROR_SIZE> error_text_{};
  std::unique_ptr<curl_slist, Release> headers_;
  std::unique_ptr<CURL, Release> easy_;
  std::unique_ptr<CURLM, ReleaseMulti> multi_;
};

}  // namespace

HttpOutcome http_get(const HttpRequest& request, const HttpHandler& handler, const Clock& clock) {
  return Transfer(request, handler, clock).run();
}

std::string url_host(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  const size_t at = url.rfind('@');
  return std::string(at == std::string_view::npos ? url : url.substr(at + 1));
}

std::string encode_path(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) ||
                       std::string_view("-_.~/").find(c) != std::string_view::npos;
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace ration
