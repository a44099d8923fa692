#include "run/prefix_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "run/kv.h"
#include "run/prefix_cache.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

// A file: "SHA256 HEADBYTES\n", the head (JSON), the blocks. The digest is the head's, and the head
// has that of the blocks.
constexpr size_t kDigest = 64;
constexpr size_t kLineMax = kDigest + 16;
constexpr int64_t kHeadMax = 64 * kMiB;
constexpr int64_t kTokensMax = int64_t{1} << 22;
constexpr const char* kEnding = ".prefix";

Error not_ours(const fs::path& path, std::string_view what) {
  return {Code::kCorrupt, fmt::format("{}: {}", path.string(), what)};
}

Status read_all(int file, const fs::path& path, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::read(file, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("read", path, errno);
    if (got == 0) return not_ours(path, "it ends too soon");
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return {};
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Reads the line and the head; the file stands at the first block.
Result<std::string> read_opening(int file, const fs::path& path) {
  std::string line(kLineMax, '\0');
  size_t size = 0;
  while (size < line.size() && (size == 0 || line[size - 1] != '\n')) {
    if (Status read = read_all(file, path, std::as_writable_bytes(std::span(&line[size], 1)));
        !read) {
      return read.error();
    }
    ++size;
  }
  int64_t bytes = 0;
  const char* begin = line.data() + kDigest + 1;
  if (size < kDigest + 3 || line[size - 1] != '\n' ||
      std::from_chars(begin, line.data() + size, bytes).ptr != line.data() + size - 1 ||
      bytes < 2 || bytes > kHeadMax) {
    return not_ours(path, "its first line is none of ours");
  }
  std::string head(static_cast<size_t>(bytes), '\0');
  if (Status read = read_all(file, path, std::as_writable_bytes(std::span(head))); !read) {
    return read.error();
  }
  const Result<std::string> digest = sha256_of(head);
  if (!digest) return digest.error();
  if (*digest != line.substr(0, kDigest)) return not_ours(path, "its head is not what was written");
  return head;
}

Bytes bytes_of_file(const fs::path& path) {
  std::error_code problem;
  const auto size = static_cast<int64_t>(fs::file_size(path, problem));
  return problem ? Bytes{0} : Bytes{size};
}

bool is_count(const Json& value, int64_t most) {
  return value.is_number_integer() && value.get<int64_t>() >= 0 && value.get<int64_t>() <= most;
}

}  // namespace

struct PrefixStore::Job {
  Text text;
  std::unique_ptr<Sequence> sequence;  // holds the blocks; touched by the engine's thread only
  std::vector<std::span<const std::byte>> blocks;
  bool done = false;     // under the mutex
  bool written = false;  // under the mutex

  Status write(std::string_view fingerprint) const;
};

Status PrefixStore::Job::write(std::string_view fingerprint) const {
  Json roles = Json::array();
  for (const RoleRun& run : text.roles) roles.push_back({run.end, static_cast<int>(run.role)});
  Result<Sha256> hash = Sha256::start();
  if (!hash) return hash.error();
  for (const auto& block : blocks) hash->update(block);
  const std::string head = to_text(Json{{"sha256", hash->finish()},
                                        {"fingerprint", fingerprint},
                                        {"owner", text.owner},
                                        {"roles", roles},
                                        {"forgotten", text.forgotten},
                                        {"length_min", text.length_min},
                                        {"tokens", text.tokens}});
  const Result<std::string> digest = sha256_of(head);
  if (!digest) return digest.error();
  const std::string line = fmt::format("{} {}\n", *digest, head.size());
  const fs::path part = text.path.string() + ".part";
  if (Status room = check_free_disk(part.parent_path(), text.bytes, "a kept prompt"); !room) {
    return room;
  }
  Status status;
  {
    const Descriptor file{::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (file.number < 0) return io_error("create", part, errno);
    status = write_all(file.number, bytes_of(line), part);
    if (status) status = write_all(file.number, bytes_of(head), part);
    for (size_t i = 0; status && i < blocks.size(); ++i) {
      status = write_all(file.number, blocks[i], part);
    }
  }
  if (status && ::rename(part.c_str(), text.path.c_str()) != 0) {
    status = io_error("rename", part, errno);
  }
  if (!status) ::unlink(part.c_str());
  return status;
}

Result<PrefixStore::Text> PrefixStore::read_head(const fs::path& path,
                                                 std::string_view fingerprint) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) return io_error("open", path, errno);
  const Result<std::string> opened = read_opening(file.number, path);
  if (!opened) return opened.error();
  const Result<Json> head = parse_json(*opened);
  if (!head) return head.error();
  const auto has = [&](const char* name, Json::value_t type) {
    return head->is_object() && head->contains(name) && (*head)[name].type() == type;
  };
  if (!has("fingerprint", Json::value_t::string) || !has("owner", Json::value_t::string) ||
      !has("sha256", Json::value_t::string) || !has("roles", Json::value_t::array) ||
      !has("forgotten", Json::value_t::array) || !has("tokens", Json::value_t::array) ||
      !head->contains("length_min")) {
    return not_ours(path, "its head lacks something");
  }
  if ((*head)["fingerprint"].get<std::string>() != fingerprint) {
    return not_ours(path, "it is of another model");
  }
  Text text{.path = path,
            .owner = (*head)["owner"].get<std::string>(),
            .sha256 = (*head)["sha256"].get<std::string>()};
  bool right = is_count((*head)["length_min"], kTokensMax);
  for (const Json& token : (*head)["tokens"]) {
    right = right && is_count(token, std::numeric_limits<Token>::max());
    if (right) text.tokens.push_back(token.get<Token>());
  }
  for (const Json& run : (*head)["roles"]) {
    right = right && run.is_array() && run.size() == 2 && is_count(run[0], kTokensMax) &&
            is_count(run[1], static_cast<int>(Role::kGenerated));
    if (right) text.roles.push_back({run[0].get<int64_t>(), static_cast<Role>(run[1].get<int>())});
  }
  for (const Json& blocks : (*head)["forgotten"]) {
    right = right && is_count(blocks, kTokensMax);
    if (right) text.forgotten.push_back(blocks.get<int64_t>());
  }
  right = right && !text.roles.empty() && text.roles.back().end == std::ssize(text.tokens);
  if (!right) return not_ours(path, "its head makes no sense");
  text.length_min = (*head)["length_min"].get<int64_t>();
  text.bytes = bytes_of_file(path);
  return text;
}

PrefixStore::PrefixStore(PrefixStoreOptions options)
    : options_(std::move(options)), writer_([this] { work(); }) {}

PrefixStore::~PrefixStore() {
  wait();
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  writer_.join();
}

Result<std::unique_ptr<PrefixStore>> PrefixStore::open(PrefixStoreOptions options) {
  if (const Result<std::string> digest = sha256_of(""); !digest) return digest.error();
  if (Status made = make_folder(options.folder); !made) return made.error();
  ::chmod(options.folder.c_str(), 0700);
  std::unique_ptr<PrefixStore> store(new PrefixStore(std::move(options)));
  std::vector<std::pair<fs::file_time_type, Text>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(store->options_.folder, error)) {
    const std::string extension = entry.path().extension().string();
    if (extension != kEnding && extension != ".part") continue;
    Result<Text> text = read_head(entry.path(), store->options_.fingerprint);
    if (extension != ".part" && text) {
      found.emplace_back(fs::last_write_time(entry.path(), error), std::move(*text));
    } else {
      fs::remove(entry.path(), error);
    }
  }
  if (error) return io_error("look through", store->options_.folder, error.value());
  std::ranges::sort(found, {}, [](const auto& one) { return one.first; });
  for (auto& [when, text] : found) store->texts_.push_back(std::move(text));
  store->make_room();
  return store;
}

Bytes PrefixStore::bytes() const {
  Bytes sum{0};
  for (const Text& text : texts_) sum += text.bytes;
  return sum;
}

int64_t PrefixStore::longest(const PrefixQuery& query, const std::string& owner, size_t& at) const {
  PrefixQuery digested = query;
  digested.owner = owner;
  int64_t best = 0;
  for (size_t i = 0; i < texts_.size(); ++i) {
    const int64_t length = reusable_length(digested, texts_[i].known());
    if (length < best || length == 0) continue;
    best = length;
    at = i;
  }
  return best;
}

Result<std::unique_ptr<Sequence>> PrefixStore::restore(Engine& engine, const Text& text) {
  const Descriptor file{::open(text.path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.number < 0) return io_error("open", text.path, errno);
  const Result<std::string> opened = read_opening(file.number, text.path);
  if (!opened) return opened.error();
  Result<Sha256> hash = Sha256::start();
  if (!hash) return hash.error();
  Result<std::unique_ptr<Sequence>> sequence =
      engine.restore(text.roles, text.forgotten, [&](std::span<std::byte> block) {
        Status read = read_all(file.number, text.path, block);
        if (read) hash->update(block);
        return read;
      });
  if (!sequence) return sequence.error();
  if (hash->finish() != text.sha256 || (*sequence)->length_min() != text.length_min) {
    return not_ours(text.path, "its content is not what was written");
  }
  return sequence;
}

std::optional<PrefixStore::Match> PrefixStore::find(const PrefixQuery& query, int64_t than) {
  settle();
  if (texts_.empty()) return std::nullopt;
  const Result<std::string> owner = sha256_of(query.owner);
  if (!owner) return std::nullopt;
  size_t at = 0;
  const int64_t length = longest(query, *owner, at);
  if (length < than + options_.tokens_least) return std::nullopt;
  return Match{.path = texts_[at].path,
               .length = length,
               .blocks = kv_blocks_for(std::ssize(texts_[at].tokens))};
}

std::unique_ptr<Sequence> PrefixStore::read(Engine& engine, const Match& match) {
  const auto used = std::ranges::find(texts_, match.path, &Text::path);
  if (used == texts_.end()) return nullptr;
  Result<std::unique_ptr<Sequence>> sequence = restore(engine, *used);
  if (!sequence) {
    if (sequence.error().code != Code::kOverBudget) {
      remove(static_cast<size_t>(used - texts_.begin()));
    }
    return nullptr;
  }
  (*sequence)->truncate(match.length);
  ::utimensat(AT_FDCWD, match.path.c_str(), nullptr, 0);
  std::rotate(used, used + 1, texts_.end());
  return std::move(*sequence);
}

void PrefixStore::keep(Engine& engine, const Sequence& sequence, std::span<const Token> tokens,
                       std::string_view owner) {
  settle();
  const int64_t length = sequence.length();
  if (job_ || length < options_.tokens_least) return;
  const Result<std::string> digest = sha256_of(owner);
  if (!digest) return;
  // As a prompt would find it that begins like the text.
  std::vector<Token> longer(tokens.begin(), tokens.end());
  longer.push_back(0);
  size_t at = 0;
  const int64_t known = longest({.tokens = longer, .prompt = length + 1}, *digest, at);
  if (length - known < options_.tokens_least) return;
  Result<std::unique_ptr<Sequence>> fork = engine.fork(sequence, length);
  if (!fork) return;
  auto job = std::make_unique<Job>();
  job->blocks = engine.blocks(**fork);
  for (const auto& block : job->blocks) job->text.bytes += Bytes{std::ssize(block)};
  if (job->text.bytes > options_.bytes_max) return;
  job->text.owner = *digest;
  job->text.tokens.assign(tokens.begin(), tokens.end());
  job->text.roles.assign(sequence.roles().begin(), sequence.roles().end());
  job->text.forgotten = Engine::forgotten(**fork);
  job->text.length_min = (*fork)->length_min();
  const std::string_view told(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes());
  const Result<std::string> name = sha256_of(*digest + std::string(told));
  if (!name) return;
  job->text.path = options_.folder / (name->substr(0, 32) + kEnding);
  (*fork)->set_kept();
  job->sequence = std::move(*fork);
  {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
  }
  changed_.notify_all();
}

void PrefixStore::settle() {
  std::unique_ptr<Job> done;
  {
    const std::lock_guard lock(mutex_);
    if (!job_ || !job_->done) return;
    done = std::move(job_);
  }
  if (!done->written) return;
  done->text.bytes = bytes_of_file(done->text.path);
  adopt(std::move(done->text));
}

void PrefixStore::wait() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !job_ || job_->done; });
  }
  settle();
}

// In place of those that it continues.
void PrefixStore::adopt(Text text) {
  for (size_t i = texts_.size(); i-- > 0;) {
    if (!covers(text.known(), texts_[i].known())) continue;
    if (texts_[i].path == text.path) {
      texts_.erase(texts_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      remove(i);
    }
  }
  texts_.push_back(std::move(text));
  make_room();
}

void PrefixStore::make_room() {
  while (!texts_.empty() && bytes() > options_.bytes_max) remove(0);
}

void PrefixStore::remove(size_t index) {
  std::error_code ignored;
  fs::remove(texts_[index].path, ignored);
  texts_.erase(texts_.begin() + static_cast<std::ptrdiff_t>(index));
}

void PrefixStore::work() {
  while (true) {
    const Job* job = nullptr;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || (job_ && !job_->done); });
      if (stop_) return;
      job = job_.get();
    }
    const bool written = static_cast<bool>(job->write(options_.fingerprint));
    {
      const std::lock_guard lock(mutex_);
      job_->written = written;
      job_->done = true;
    }
    changed_.notify_all();
  }
}

}  // namespace ration
