#include "model/store/fetch.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/file.h"
#include "model/store/http.h"

namespace ration {
namespace {

using Stage = PullProgress::Stage;

constexpr int kUnreachableAttempts = 3;  // when not a byte ever came: do not let a person wait
constexpr int kRestartsMax = 3;

class Fetch {
 public:
  Fetch(const UrlJob& job, Partial& partial, Reporter& reporter)
      : job_(job), partial_(partial), reporter_(reporter), total_(job.bytes) {}

  Status run() {
    if (Status adopted = adopt(); !adopted) return adopted;
    double backoff_ms = job_.retry.backoff_first.count;
    high_water_ = partial_.size();
    for (int attempt = 1;; ++attempt) {
      if (total_.count >= 0 && partial_.size() == total_) return {};
      HttpOutcome outcome = attempt_once();
      if (!outcome.error) return {};
      if (partial_.size() >= high_water_ + job_.retry.stall_bytes_min) {
        high_water_ = partial_.size();
        attempt = 0;
        backoff_ms = job_.retry.backoff_first.count;
      }
      const bool past_end = outcome.head.status == 416 && partial_.size().count > 0;
      if (past_end && outcome.head.range_total == partial_.size()) return {};  // it was all there
      if (past_end || changed_) {
        if (Status restarted = restart(); !restarted) return restarted;
        continue;
      }
      const int attempts_max = outcome.unreachable && high_water_.count == 0
                                   ? std::min(kUnreachableAttempts, job_.retry.attempts_max)
                                   : job_.retry.attempts_max;
      if (!outcome.transient || attempt >= attempts_max) return final_error(outcome);
      if (!reporter_.wait(Millis{backoff_ms}, partial_.size(), outcome.error->message))
        return Error{Code::kCancelled, "stopped"};
      backoff_ms = std::min(backoff_ms * 2, job_.retry.backoff_max.count);
    }
  }

 private:
  // The state file is "<validator>\n<url>".
  Status adopt() {
    if (partial_.found().count == 0) return {};
    const Result<std::string> state = read_file(job_.state, Bytes{64 * kKiB});
    const size_t line = state ? state->find('\n') : std::string::npos;
    const bool same_url = line != std::string::npos && state->substr(line + 1) == job_.url;
    if (same_url) validator_ = state->substr(0, line);
    const bool fits = job_.bytes.count < 0 || partial_.found() <= job_.bytes;
    if (!fits || !(job_.content_known || (same_url && !validator_.empty())))
      return partial_.restart();
    return partial_.adopt(partial_.found(),
                          [this](Bytes done) { return reporter_.report(Stage::kChecking, done); });
  }

  HttpOutcome attempt_once() {
    HttpRequest request{.url = job_.url, .token = job_.token, .limits = job_.retry};
    const bool can_resume = job_.content_known || !validator_.empty();
    Status restarted;
    if (partial_.size().count > 0 && !can_resume) restarted = restart();
    if (!restarted) return {.error = restarted.error()};
    request.range_begin = partial_.size();
    request.if_range = validator_;
    arriving_ = false;
    changed_ = false;
    const HttpHandler handler{
        .on_head = [this](const HttpHead& head) { return take_head(head); },
        .on_body = [this](std::span<const std::byte> bytes) { return take_body(bytes); },
        .keep_going =
            [this] {
              return reporter_.report(arriving_ ? Stage::kDownloading : Stage::kConnecting,
                                      partial_.size());
            }};
    HttpOutcome outcome = http_get(request, handler, reporter_.clock());
    if (!outcome.error && total_.count >= 0 && partial_.size() < total_) {
      outcome.error =
          Error{Code::kNetwork, fmt::format("{} closed the connection too early", host())};
      outcome.transient = true;
    }
    return outcome;
  }

  Status take_head(const HttpHead& head) {
    arriving_ = true;
    Bytes total = head.content_length;
    if (head.status == 206) {
      total = head.range_total;
      if (head.range_begin != partial_.size()) {
        return lied(fmt::format("{} sent the wrong piece: found byte {}, wanted byte {}", host(),
                                head.range_begin.count, partial_.size().count));
      }
      const bool other_file =
          !validator_.empty() && !validator_of(head).empty() && validator_of(head) != validator_;
      const bool other_length = job_.bytes.count < 0 && total_.count >= 0 && total != total_;
      if (other_file || other_length) {
        changed_ = true;
        return lied(fmt::format("the file changed on {} during the download", host()));
      }
    } else if (partial_.size().count > 0) {  // it cannot resume, or the file changed
      if (Status restarted = restart(); !restarted) return restarted;
    }
    if (total_.count >= 0 && total.count >= 0 && total != total_) {
      return lied(fmt::format("{} offers a file of the wrong length: found {} bytes, wanted {}",
                              host(), total.count, total_.count));
    }
    if (total_.count < 0) total_ = total;
    if (total_.count >= 0) {
      if (reporter_.total().count < 0) reporter_.expect(total_);
      if (Status room = job_.room(total_ - partial_.size()); !room) return room;
    }
    return remember(head);
  }

  // Weak ETags do not promise equal bytes.
  static std::string validator_of(const HttpHead& head) {
    const bool strong = !head.etag.empty() && !head.etag.starts_with("W/");
    return strong ? head.etag : head.last_modified;
  }

  Status remember(const HttpHead& head) {
    const std::string validator = validator_of(head);
    if (validator == validator_ && remembered_) return {};
    validator_ = validator;
    remembered_ = true;
    return write_file_atomically(job_.state, validator_ + "\n" + job_.url);
  }

  Status take_body(std::span<const std::byte> bytes) {
    const Bytes after = partial_.size() + Bytes{static_cast<int64_t>(bytes.size())};
    if (total_.count >= 0 && after > total_) {
      return lied(fmt::format("{} sends more than it should: found more than {} bytes, wanted {}",
                              host(), total_.count, total_.count));
    }
    const bool begins = partial_.size().count == 0 && bytes.size() >= 4;
    if (begins && std::string_view(reinterpret_cast<const char*>(bytes.data()), 4) != "GGUF") {
      return lied(fmt::format("what {} sends is not a GGUF file{}", host(),
                              bytes.front() == std::byte{'<'} ? " but a web page" : ""));
    }
    return partial_.append(bytes);
  }

  Status lied(std::string what) { return Error{Code::kNetwork, std::move(what)}; }

  Status restart() {
    if (++restarts_ > kRestartsMax) {
      return lied(fmt::format("{} cannot go on where a transfer broke off, {} times", host(),
                              kRestartsMax));
    }
    high_water_ = std::max(high_water_, partial_.size());
    validator_.clear();
    remembered_ = false;
    total_ = job_.bytes;
    return partial_.restart();
  }

  Error final_error(const HttpOutcome& outcome) const {
    Error error = *outcome.error;
    const int status = outcome.head.status;
    if ((status == 401 || status == 403) && !job_.refusal_hint.empty())
      error.message += ": " + job_.refusal_hint;
    if (outcome.transient && partial_.size().count > 0) {
      error.message += fmt::format(
          ", after {}{} bytes: what has arrived is kept, run the same command "
          "again to go on",
          partial_.size().count, total_.count >= 0 ? fmt::format(" of {}", total_.count) : "");
    }
    return error;
  }

  std::string host() const { return url_host(job_.url); }

  const UrlJob& job_;
  Partial& partial_;
  Reporter& reporter_;
  Bytes total_;            // of the file, once known; negative: not known
  std::string validator_;  // strong ETag or date of what `partial_` holds
  Bytes high_water_{0};    // the most `partial_` ever held
  bool remembered_ = false;
  bool arriving_ = false;
  bool changed_ = false;  // the server has another file than `partial_` begins with
  int restarts_ = 0;
};

}  // namespace

Status fetch_by_url(const UrlJob& job, Partial& partial, Reporter& reporter) {
  return Fetch(job, partial, reporter).run();
}

Result<std::string> fetch_text(const std::string& url, Bytes most, const Clock& clock) {
  std::string text;
  const HttpHandler handler{.on_body = [&](std::span<const std::byte> bytes) -> Status {
    if (static_cast<int64_t>(text.size() + bytes.size()) > most.count) {
      return Error{Code::kNetwork,
                   fmt::format("the answer of {} is longer than {}", url_host(url), to_text(most))};
    }
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }};
  const HttpOutcome outcome = http_get({.url = url}, handler, clock);
  if (outcome.error) return *outcome.error;
  return text;
}

}  // namespace ration
