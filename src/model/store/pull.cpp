#include "model/store/pull.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <thread>

#include "base/file.h"
#include "model/store/fetch.h"
#include "model/store/partial.h"
#include "model/store/pip.h"
#include "model/store/reporter.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using Stage = PullProgress::Stage;

// What names the unfinished download of a file: its content where that is known, else where it is
// from.
Result<std::string> incoming_key(const PullPlan& plan, const PullPlan::File& file) {
  if (!file.sha256.empty()) return file.sha256;
  std::string from = file.url.empty() ? plan.reference.text : file.url;
  if (!plan.reference.pip.files.empty()) from += " " + file.name;
  Result<std::string> hash = sha256_of(from);
  if (!hash) return hash.error();
  return "from-" + *hash;
}

// What names the package that several files come from.
Result<std::string> package_key(const PullPlan& plan) {
  Result<std::string> hash = sha256_of(plan.reference.text);
  if (!hash) return hash.error();
  return "from-" + *hash;
}

Bytes bytes_below(const fs::path& path) {
  std::error_code problem;
  if (fs::is_regular_file(path, problem))
    return Bytes{static_cast<int64_t>(fs::file_size(path, problem))};
  Bytes sum{0};
  for (fs::recursive_directory_iterator entry(path, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored))
      sum += Bytes{static_cast<int64_t>(entry->file_size(ignored))};
  }
  return sum;
}

constexpr Bytes kWorthKeeping{64 * kKiB};  // more than the log of a pip that got nothing

class Pull {
 public:
  Pull(const PullPlan& plan, const Shelf& shelf, const Disk& disk, const Clock& clock,
       const PullOptions& options)
      : plan_(plan),
        shelf_(shelf),
        disk_(disk),
        options_(options),
        reporter_(clock, options.progress, plan.name) {}

  Result<ResolvedModel> run() {
    Result<ResolvedModel> model = fetch_all();
    // Last of all: once its file is gone, a lock keeps nobody out.
    for (FileLock& lock : locks_) lock.remove_file();
    if (model || model.error().code != Code::kCancelled) return model;
    return Error{
        Code::kCancelled,
        fmt::format("stopped: what has arrived of {} is kept, run the same command again to go on",
                    plan_.name)};
  }

 private:
  Result<ResolvedModel> fetch_all() {
    Bytes total{0};
    Bytes missing{0};
    Bytes by_url{0};  // pip has its own way to look for free disk
    for (const PullPlan::File& file : plan_.files) {
      total = total.count < 0 || file.bytes.count < 0 ? Bytes{-1} : total + file.bytes;
      if (file.bytes.count < 0 || blob_bytes(file)) continue;
      missing += file.bytes - left(file);
      if (!file.url.empty()) by_url += file.bytes - left(file);
    }
    reporter_.expect(total);
    Status room = disk_.make_room(missing, plan_.name);
    if (room) room = check_free_disk(shelf_.home(), by_url, plan_.name);
    if (!room) return room.error();
    Manifest manifest{.name = plan_.name,
                      .reference = plan_.reference.text,
                      .licence = plan_.licence,
                      .pulled_unix_seconds = unix_seconds()};
    Bytes base{0};
    for (const PullPlan::File& file : plan_.files) {
      reporter_.set_base(base);
      Result<Manifest::File> fetched = fetch(file);
      if (!fetched) return fetched.error();
      base += fetched->bytes;
      manifest.files.push_back(std::move(*fetched));
    }
    if (Status written = shelf_.put(manifest); !written) return written.error();
    if (const Result<std::string> package = package_key(plan_); package) drop(*package);
    reporter_.set_base(Bytes{0});
    reporter_.report(Stage::kDone, base);
    return shelf_.resolved(manifest);
  }

  // The size of the file's blob when it is already here.
  std::optional<Bytes> blob_bytes(const PullPlan::File& file) const {
    if (file.sha256.empty()) return std::nullopt;
    std::error_code missing;
    const auto bytes = static_cast<int64_t>(fs::file_size(shelf_.blob(file.sha256), missing));
    if (missing || (file.bytes.count >= 0 && bytes != file.bytes.count)) return std::nullopt;
    return Bytes{bytes};
  }

  // What an earlier pull left of a file.
  Bytes left(const PullPlan::File& file) const {
    const Result<std::string> key = incoming_key(plan_, file);
    std::error_code missing;
    const auto bytes = key ? fs::file_size(shelf_.incoming(*key, "partial"), missing) : 0;
    return missing ? Bytes{0} : std::min(Bytes{static_cast<int64_t>(bytes)}, file.bytes);
  }

  // Another process may be at the same file. The lock is kept until the manifest is written: who
  // waited for it finds everything done. True: we waited.
  Result<bool> lock(const std::string& key) {
    for (bool waited = false;; waited = true) {
      Result<std::optional<FileLock>> lock = FileLock::try_take(shelf_.incoming(key, "lock"));
      if (!lock) return lock.error();
      if (*lock) {
        locks_.push_back(std::move(**lock));
        return waited;
      }
      if (!reporter_.report(Stage::kWaiting, Bytes{0}, "another process pulls it")) {
        return Error{Code::kCancelled, "stopped"};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  // One file, from wherever it comes, into the blobs.
  Result<Manifest::File> fetch(const PullPlan::File& file) {
    const Result<std::string> key = incoming_key(plan_, file);
    if (!key) return key.error();
    const Result<bool> waited = lock(*key);
    if (!waited) return waited.error();
    if (const std::optional<Bytes> bytes = blob_bytes(file)) {
      return Manifest::File{file.name, file.sha256, *bytes};
    }
    if (*waited && file.sha256.empty()) {
      const Result<std::optional<Manifest>> theirs = shelf_.find(plan_.name);
      const bool done = theirs && *theirs && (*theirs)->reference == plan_.reference.text &&
                        (*theirs)->files.size() == 1 && shelf_.is_complete(**theirs);
      if (done) return (*theirs)->files.front();
    }
    for (const bool again : {false, true}) {
      Result<Partial> partial = Partial::open(shelf_.incoming(*key, "partial"));
      if (!partial) return partial.error();
      const bool resumed = partial->found().count > 0;
      Status arrived = transfer(file, *key, *partial);
      const bool empty = partial->size().count == 0 &&
                         bytes_below(shelf_.incoming(*key, "packages")) < kWorthKeeping;
      if (!arrived && empty) drop(*key);
      if (!arrived) return arrived.error();
      Result<Manifest::File> kept = keep(file, *key, *partial);
      if (kept || again || !resumed || kept.error().code != Code::kNetwork) return kept;
      // The fault may be in what an earlier pull left: once more, from nothing.
      reporter_.report(Stage::kRetrying, Bytes{0}, "what was left of an earlier pull is not right");
    }
    CHECK(false);
  }

  // Checks what arrived and makes it a blob, or deletes it.
  Result<Manifest::File> keep(const PullPlan::File& file, const std::string& key,
                              Partial& partial) {
    Result<std::string> sha256 = partial.finish();
    if (!sha256) return sha256.error();
    const Manifest::File done{file.name, *sha256, partial.size()};
    Status right = check(file, done, partial);
    if (right) right = disk_.make_room(Bytes{0}, plan_.name);  // its size may be news
    Status moved = right ? partial.move_to(shelf_.blob(done.sha256)) : Status();
    if (!moved) return moved.error();
    drop(key);
    if (!right) return right.error();
    return done;
  }

  Status transfer(const PullPlan::File& file, const std::string& key, Partial& partial) {
    if (!file.url.empty()) {
      return fetch_by_url({.url = file.url,
                           .token = file.token,
                           .refusal_hint = file.refusal_hint,
                           .bytes = file.bytes,
                           .content_known = !file.sha256.empty(),
                           .room = [this](Bytes more) -> Status {
                             Status room = disk_.make_room(more, plan_.name);
                             return room ? check_free_disk(shelf_.home(), more, plan_.name) : room;
                           },
                           .state = shelf_.incoming(key, "state"),
                           .retry = options_.retry},
                          partial, reporter_);
    }
    const bool of_several = !plan_.reference.pip.files.empty();
    const Result<std::string> package = of_several ? package_key(plan_) : key;
    if (!package) return package.error();
    return fetch_by_pip({.source = plan_.reference.pip,
                         .file = of_several ? file.name : "",
                         .keeps_packages = of_several,
                         .reference = plan_.reference.text,
                         .bytes = file.bytes,
                         .staging = shelf_.incoming(*package, "packages"),
                         .state = shelf_.incoming(key, "state"),
                         .lock_descriptor = locks_.back().descriptor(),
                         .retry = options_.retry},
                        partial, reporter_);
  }

  // The promises of the plan against what arrived.
  Status check(const PullPlan::File& file, const Manifest::File& done,
               const Partial& partial) const {
    const auto lied = [&](std::string_view what, std::string_view found, std::string_view wanted) {
      return Error{
          Code::kNetwork,
          fmt::format("what came for {} has the wrong {} and was deleted: found {}, wanted {}",
                      plan_.name, what, found, wanted)};
    };
    if (file.bytes.count >= 0 && done.bytes != file.bytes) {
      return lied("length", fmt::format("{} bytes", done.bytes.count),
                  fmt::to_string(file.bytes.count));
    }
    if (!file.sha256.empty() && done.sha256 != file.sha256) {
      return lied("content", "sha256 " + done.sha256, file.sha256);
    }
    if (!plan_.reference.pip.files.empty()) return {};  // looked into when they are opened
    const Result<std::string> begin = read_head(partial.path());
    if (begin && *begin != "GGUF") return lied("kind", "a file that is not GGUF", "one that is");
    return {};
  }

  static Result<std::string> read_head(const fs::path& path) {
    Result<MappedFile> file = MappedFile::open(path);
    if (!file) return file.error();
    const std::span<const std::byte> bytes = file->bytes();
    return std::string(reinterpret_cast<const char*>(bytes.data()),
                       std::min<size_t>(4, bytes.size()));
  }

  // What was unfinished of a file.
  void drop(const std::string& key) const {
    std::error_code ignored;
    for (const char* ending : {"partial", "state", "packages"}) {
      fs::remove_all(shelf_.incoming(key, ending), ignored);
    }
  }

  const PullPlan& plan_;
  const Shelf& shelf_;
  const Disk& disk_;
  const PullOptions& options_;
  Reporter reporter_;
  std::vector<FileLock> locks_;
};

}  // namespace

Result<ResolvedModel> carry_out(const PullPlan& plan, const Shelf& shelf, const Disk& disk,
                                const Clock& clock, const PullOptions& options) {
  return Pull(plan, shelf, disk, clock, options).run();
}

Result<Bytes> drop_incoming(const PullPlan& plan, std::string_view url_prefix, const Shelf& shelf) {
  std::error_code problem;
  const fs::path folder = shelf.home() / "incoming";
  if (!fs::is_directory(folder, problem)) return Bytes{0};
  std::set<std::string> keys;
  for (const PullPlan::File& file : plan.files) {
    Result<std::string> key = incoming_key(plan, file);
    if (!key) return key.error();
    keys.insert(std::move(*key));
  }
  if (const Result<std::string> package = package_key(plan); package) keys.insert(*package);
  for (fs::directory_iterator entry(folder, problem), end; !problem && entry != end;
       entry.increment(problem)) {
    if (url_prefix.empty() || entry->path().extension() != ".state") continue;
    const Result<std::string> state = read_file(entry->path(), Bytes{64 * kKiB});
    const size_t line = state ? state->find('\n') : std::string::npos;
    if (line == std::string::npos) continue;
    if (std::string_view(*state).substr(line + 1).starts_with(url_prefix))
      keys.insert(entry->path().stem());
  }
  Bytes freed{0};
  for (const std::string& key : keys) {
    Result<std::optional<FileLock>> lock = FileLock::try_take(shelf.incoming(key, "lock"));
    if (!lock) return lock.error();
    if (!*lock)
      return Error{Code::kUnavailable, fmt::format("{} is being pulled right now", plan.name)};
    for (const char* ending : {"partial", "state", "packages"}) {
      const fs::path path = shelf.incoming(key, ending);
      freed += bytes_below(path);
      fs::remove_all(path, problem);
      if (problem) {
        return Error{Code::kIo,
                     fmt::format("cannot delete {}: {}", path.string(), problem.message())};
      }
    }
    (*lock)->remove_file();
  }
  return freed;
}

}  // namespace ration
