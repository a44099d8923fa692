// run/prefix_store.h - beginnings on the disk: texts that PrefixCache keeps are also written to
// files, and taken over from there when memory has them no more, or after a restart.
//
// Source    after Gao et al. 2024, "Cost-Efficient Large Language Model Serving for Multi-turn
//           Conversations with CachedAttention" (a store of conversations behind the memory)
// Computes  the same as PrefixCache, of texts in files; a text that continues an older one of the
//           same owner takes its place; when the limit is passed the least recently used goes
// Departs   texts are written when they are kept, behind the answers, and read whole when a prompt
//           begins like one; nothing is fetched ahead
// Costs     a file holds the keys and values of its text: 23 KB a token for a model of 135M, 28 KB
//           for one of 1.5B; written by a thread of its own, read on the engine's
// Proved    test/run/prefix_store_test.cpp
//
// A file's head is checked when the store is opened and its blocks when they are read: one that is
// cut, changed or of another model is deleted. It tells the tokens of its text to whoever may read
// it, so files are their user's alone; owners are written as digests. Private to run/; run/run.h
// hands it on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "run/engine.h"
#include "run/known_text.h"

namespace ration {

struct PrefixStoreOptions {
  std::filesystem::path folder;
  Bytes bytes_max{0};       // of all files
  std::string fingerprint;  // of all that keys and values depend on: another one is another model
  int64_t tokens_least = 256;  // shorter texts, and shorter gains, are not worth a file
};

// single-thread: the engine's; its writer is its own affair.
class PrefixStore {
 public:
  // Creates the folder and looks through it. kIo; kUnsupported where digests cannot be made.
  static Result<std::unique_ptr<PrefixStore>> open(PrefixStoreOptions options);
  ~PrefixStore();  // waits for what is being written
  PrefixStore(const PrefixStore&) = delete;
  PrefixStore& operator=(const PrefixStore&) = delete;

  struct Match {
    std::filesystem::path path;
    int64_t length = 0;  // tokens of it that the query may reuse
    int64_t blocks = 0;  // that reading it takes of the cache
  };
  // The text with the longest beginning that the query may reuse, where that is longer than `than`
  // by enough to be worth reading.
  std::optional<Match> find(const PrefixQuery& query, int64_t than);
  // That beginning. Null: there is no room, or the file was not what it was; then it is deleted.
  std::unique_ptr<Sequence> read(Engine& engine, const Match& match);

  // Writes a text down, unless one is being written or its beginning is there already. The blocks
  // are held until that is done. `tokens`: sequence.length() of them.
  void keep(Engine& engine, const Sequence& sequence, std::span<const Token> tokens,
            std::string_view owner);

  // Lets go of what was written.
  void settle();
  // The same, when what is being written is written. REQUIRES: called before the engine goes.
  void wait();

  int64_t texts() const { return static_cast<int64_t>(texts_.size()); }
  Bytes bytes() const;

 private:
  struct Text {
    std::filesystem::path path;
    std::string owner;   // its digest
    std::string sha256;  // of the blocks
    std::vector<Token> tokens;
    std::vector<RoleRun> roles;
    std::vector<int64_t> forgotten;
    int64_t length_min = 0;
    Bytes bytes{};

    KnownText known() const { return {tokens, roles, length_min, owner}; }
  };
  struct Job;

  explicit PrefixStore(PrefixStoreOptions options);
  static Result<Text> read_head(const std::filesystem::path& path, std::string_view fingerprint);
  static Result<std::unique_ptr<Sequence>> restore(Engine& engine, const Text& text);
  int64_t longest(const PrefixQuery& query, const std::string& owner, size_t& at) const;
  void adopt(Text text);
  void make_room();
  void remove(size_t index);
  void work();

  const PrefixStoreOptions options_;
  std::vector<Text> texts_;  // the least recently used first

  std::mutex mutex_;
  std::condition_variable changed_;
  std::unique_ptr<Job> job_;  // under the mutex: its state; its contents belong to the writer
  bool stop_ = false;
  std::thread writer_;
};

}  // namespace ration
