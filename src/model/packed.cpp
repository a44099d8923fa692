#include "model/packed.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/file_lock.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ration {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kHeadBytes = 4096;
constexpr int64_t kAlignment = 64;
constexpr uint32_t kVersion = 4;
constexpr Bytes kDiskSlack{64 * kMiB};  // a disk is not filled to the last byte

using Digest = std::array<char, 64>;  // of SHA-256, in hexadecimal

// The sizes, times and numbers of the source files as text, cut where there is no more room: it
// changes when a file is written to, replaced or moved to another disk.
using Identity = std::array<char, 1024>;

// The start of the file; the rest of its 4 KiB is zero.
struct Head {
  std::array<char, 8> magic{};
  uint32_t version = 0;
  uint32_t rows_a_panel = 0;
  uint64_t bytes = 0;  // of this file
  uint64_t table = 0;  // FNV-1a of the list of matrices
  Digest content{};    // of the source files' bytes
  Identity identity{};
};
static_assert(sizeof(Head) <= kHeadBytes);

// One matrix to be packed, and where its panels lie in the file.
struct Place {
  Matrix source;
  Layout layout = Layout::kPanels;
  int64_t offset = 0;
};

struct Table {
  std::vector<Place> places;
  int64_t bytes = kHeadBytes;
};

// Every quantised matrix that is multiplied, once. An embedding that is only looked up stays as it
// is: a row of a panel lies on more pages than a row of the file.
template <class Network, class Visit>
void visit_matrices(Network& network, Visit visit) {
  const bool tied = network.output.weight.data == network.embedding.data;
  for (auto& stage : network.stages) {
    if (auto* attention = std::get_if<AttentionStage>(&stage)) {
      visit(attention->query.weight);
      visit(attention->key.weight);
      visit(attention->value.weight);
      visit(attention->output.weight);
    } else if (auto* feed_forward = std::get_if<FeedForwardStage>(&stage)) {
      visit(feed_forward->gate.weight);
      visit(feed_forward->up.weight);
      visit(feed_forward->down.weight);
    } else {
      auto& experts = std::get<ExpertStage>(stage);
      visit(experts.router);
      for (auto* matrix : {&experts.gate, &experts.up, &experts.down}) {
        // Each expert must begin with a panel of its own.
        if (matrix->rows / experts.experts % kRowsAPanel == 0) visit(*matrix);
      }
      visit(experts.shared_gate);
      visit(experts.shared_up);
      visit(experts.shared_down);
      visit(experts.shared_router);
    }
  }
  visit(network.output.weight);
  if (tied) visit(network.embedding);
}

// Every vector there is: norms and biases, which lie all over the file.
template <class Visit>
void visit_vectors(Network& network, Visit visit) {
  const auto norm = [&](Norm& norm, int64_t size) {
    if (norm.weight) visit(norm.weight, size);
    if (norm.bias) visit(norm.bias, size);
  };
  const auto bias = [&](Linear& linear) {
    if (linear.bias) visit(linear.bias, linear.weight.rows);
  };
  for (Stage& stage : network.stages) {
    if (auto* attention = std::get_if<AttentionStage>(&stage)) {
      norm(attention->before, network.width);
      const bool span = attention->norms_span_heads;
      norm(attention->query_norm, span ? attention->query.weight.rows : network.head_size);
      norm(attention->key_norm, span ? attention->key.weight.rows : network.head_size);
      norm(attention->after, network.width);
      norm(attention->closing, network.width);
      for (Linear* linear :
           {&attention->query, &attention->key, &attention->value, &attention->output}) {
        bias(*linear);
      }
    } else if (auto* feed_forward = std::get_if<FeedForwardStage>(&stage)) {
      norm(feed_forward->before, network.width);
      norm(feed_forward->after, network.width);
      norm(feed_forward->closing, network.width);
      for (Linear* linear : {&feed_forward->gate, &feed_forward->up, &feed_forward->down}) {
        bias(*linear);
      }
    } else {
      auto& experts = std::get<ExpertStage>(stage);
      norm(experts.before, network.width);
    }
  }
  if (network.segment) visit(network.segment, network.width);
  norm(network.embedding_norm, network.width);
  norm(network.final_norm, network.width);
  bias(network.output);
}

bool is_packable(const Matrix& matrix) {
  return !matrix.empty() && matrix.layout == Layout::kRowMajor && has_panels(matrix.dtype);
}

// The vocabulary's matrix is looked through for the best tokens.
Layout layout_of(const Network& network, const Matrix& matrix) {
  const bool is_output = matrix.data == network.output.weight.data;
  return is_output && has_split_panels(matrix.dtype, matrix.cols) ? Layout::kSplitPanels
                                                                  : Layout::kPanels;
}

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

Table table_of(const Network& network) {
  Table table;
  std::unordered_set<const std::byte*> seen;
  visit_matrices(network, [&](const Matrix& matrix) {
    if (!is_packable(matrix) || !seen.insert(matrix.data).second) return;
    table.places.push_back({matrix, layout_of(network, matrix), table.bytes});
    table.bytes += round_up(panels_bytes(matrix.dtype, matrix.rows, matrix.cols), kAlignment);
  });
  return table;
}

uint64_t table_hash(const Table& table) {
  std::string text;
  for (const Place& place : table.places) {
    text +=
        fmt::format("{} {}x{} in {} at {}\n", info_of(place.source.dtype).name, place.source.rows,
                    place.source.cols, static_cast<int>(place.layout), place.offset);
  }
  return fnv1a(text);
}

Result<Identity> identity_of(const Gguf& source) {
  std::string text;
  for (const fs::path& path : source.paths()) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
      return io_error("look at", path, errno);
    }
    text += fmt::format("{} {}.{} {} {}\n", status.st_size, status.st_mtim.tv_sec,
                        status.st_mtim.tv_nsec, status.st_dev, status.st_ino);
  }
  Identity identity{};
  std::copy_n(text.begin(), std::min(text.size(), identity.size()), identity.begin());
  return identity;
}

// Reads rather than maps, so that the bytes do not count as this process's memory.
Result<Digest> content_digest(const Gguf& source) {
  Result<Sha256> hash = Sha256::start();
  if (!hash) return hash.error();
  std::vector<std::byte> buffer(kMiB);
  for (const fs::path& path : source.paths()) {
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (file.number < 0) return io_error("open", path, errno);
    while (true) {
      const ssize_t got = ::read(file.number, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return io_error("read", path, errno);
      if (got == 0) break;
      hash->update(std::span(buffer).first(static_cast<size_t>(got)));
    }
  }
  const std::string hex = hash->finish();
  Digest digest{};
  std::copy_n(hex.begin(), std::min(hex.size(), digest.size()), digest.begin());
  return digest;
}

Status write_at(int file, const fs::path& path, std::span<const std::byte> bytes, int64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error("write", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
  return {};
}

// Packs and writes one matrix after the other through one buffer.
class Builder {
 public:
  Builder(const Table& table, const Gguf& source, Pool& pool,
          const PackedWeights::Progress& progress, int file, const fs::path& path)
      : table_(table),
        source_(source),
        pool_(pool),
        progress_(progress),
        file_(file),
        path_(path) {}

  Status write_matrices() {
    for (const Place& place : table_.places) {
      if (Status written = write_matrix(place); !written) return written;
    }
    return {};
  }

 private:
  Status write_matrix(const Place& place) {
    const Matrix& matrix = place.source;
    const int64_t panel_bytes = kRowsAPanel * matrix.row_bytes();
    const int64_t panels = (matrix.rows + kRowsAPanel - 1) / kRowsAPanel;
    const int64_t a_time = std::max<int64_t>(1, kBufferBytes / panel_bytes);
    buffer_.resize(static_cast<size_t>(std::min(a_time, panels) * panel_bytes));
    for (int64_t first = 0; first < panels; first += a_time) {
      const int64_t count = std::min(a_time, panels - first);
      pool_.run([&](int worker) {
        const Share share = share_of(count, worker, pool_.threads());
        for (int64_t p = share.begin; p < share.end; ++p) pack(place, first, p, count);
      });
      if (Status written = write_panels(place, first, count); !written) return written;
      const int64_t bytes = count * panel_bytes;
      source_.release({matrix.row(first * kRowsAPanel),
                       static_cast<size_t>(std::min(bytes, matrix.bytes() - first * panel_bytes))});
      done_ += bytes;
      if (progress_ && !progress_(Bytes{done_}, Bytes{table_.bytes})) {
        return Error{Code::kCancelled, "stopped"};
      }
    }
    return {};
  }

  // Panel first + p of the `count` that the buffer holds: of split ones first all upper planes.
  void pack(const Place& place, int64_t first, int64_t p, int64_t count) {
    const Matrix& matrix = place.source;
    const int64_t row = (first + p) * kRowsAPanel;
    const int64_t rows = std::min(kRowsAPanel, matrix.rows - row);
    if (place.layout == Layout::kPanels) {
      std::byte* panel = buffer_.data() + p * kRowsAPanel * matrix.row_bytes();
      return pack_panel(matrix.dtype, matrix.cols, matrix.row(row), rows, panel);
    }
    const SplitPlaces at =
        split_places(matrix.dtype, count * kRowsAPanel, matrix.cols, p * kRowsAPanel);
    pack_split_panel(matrix.dtype, matrix.cols, matrix.row(row), rows, buffer_.data() + at.upper,
                     buffer_.data() + at.lower);
  }

  Status write_panels(const Place& place, int64_t first, int64_t count) {
    const Matrix& matrix = place.source;
    const int64_t panel_bytes = kRowsAPanel * matrix.row_bytes();
    const auto bytes = std::span(buffer_).first(static_cast<size_t>(count * panel_bytes));
    if (place.layout == Layout::kPanels) {
      return write_at(file_, path_, bytes, place.offset + first * panel_bytes);
    }
    const auto upper_bytes =
        static_cast<size_t>(split_places(matrix.dtype, count * kRowsAPanel, matrix.cols, 0).lower);
    const SplitPlaces at =
        split_places(matrix.dtype, matrix.rows, matrix.cols, first * kRowsAPanel);
    Status written = write_at(file_, path_, bytes.first(upper_bytes), place.offset + at.upper);
    if (!written) return written;
    return write_at(file_, path_, bytes.subspan(upper_bytes), place.offset + at.lower);
  }

  static constexpr int64_t kBufferBytes = PackedWeights::kBuildBytes.count - 2 * kMiB;

  const Table& table_;
  const Gguf& source_;
  Pool& pool_;
  const PackedWeights::Progress& progress_;
  const int file_;
  const fs::path& path_;
  std::vector<std::byte> buffer_;
  int64_t done_ = 0;
};

Error stale(const fs::path& path, std::string_view why) {
  return {Code::kCorrupt, fmt::format("{} {}", path.string(), why)};
}

Status check_owner(const fs::path& path, const Gguf& source) {
  struct stat packed{}, model{};
  if (::stat(path.c_str(), &packed) != 0) return io_error("look at", path, errno);
  if (::stat(source.path().c_str(), &model) != 0) return io_error("look at", source.path(), errno);
  if (trusted_owner(packed.st_uid, model.st_uid, ::geteuid())) return {};
  return stale(path, "belongs to another user than its model");
}

// Whether the head's source is this one; brings the head up to date when only the identity moved.
Status check_source(const fs::path& path, Head head, const Gguf& source) {
  const Result<Identity> identity = identity_of(source);
  if (!identity) return identity.error();
  if (head.identity == *identity) return {};
  const Result<Digest> content = content_digest(source);
  if (!content) return content.error();
  if (head.content != *content) return stale(path, "was made from other weights");
  head.identity = *identity;
  const Descriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (file.number >= 0) {  // a read-only copy is hashed each time
    [[maybe_unused]] const Status written =
        write_at(file.number, path, std::as_bytes(std::span(&head, 1)), 0);
  }
  return {};
}

// Writes everything into the open temporary file and gives it its name.
Status fill(int file, const fs::path& temporary, const fs::path& path, const Table& table,
            const Gguf& source, Pool& pool, const PackedWeights::Progress& progress) {
  if (::ftruncate(file, 0) != 0 || ::ftruncate(file, table.bytes) != 0) {
    return io_error("write", temporary, errno);
  }
  // Before the weights are read: what is written to meanwhile is noticed at the next start.
  const Result<Identity> identity = identity_of(source);
  if (!identity) return identity.error();
  Builder builder(table, source, pool, progress, file, temporary);
  if (Status written = builder.write_matrices(); !written) return written;
  const Result<Digest> content = content_digest(source);
  if (!content) return content.error();
  const Head head{.magic = kPackedMagic,
                  .version = kVersion,
                  .rows_a_panel = kRowsAPanel,
                  .bytes = static_cast<uint64_t>(table.bytes),
                  .table = table_hash(table),
                  .content = *content,
                  .identity = *identity};
  Status written = write_at(file, temporary, std::as_bytes(std::span(&head, 1)), 0);
  if (!written) return written;
  if (::fdatasync(file) != 0) return io_error("sync", temporary, errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return io_error("rename to", path, errno);
  return {};
}

}  // namespace

fs::path packed_path_beside(const fs::path& model) {
  return model.string() + std::string(kPackedEnding);
}

Result<fs::path> packed_path_in_cache(const fs::path& model) {
  const Result<fs::path> cache = cache_folder();
  if (!cache) return cache.error();
  std::error_code ignored;
  const fs::path whole = fs::weakly_canonical(model, ignored);
  const Result<std::string> digest = sha256_of(whole.string());
  if (!digest) return digest.error();
  return *cache / "packed" /
         fmt::format("{}-{}{}", whole.stem().string(), digest->substr(0, 16), kPackedEnding);
}

bool PackedWeights::has_matrices(const Network& network) {
  return !table_of(network).places.empty();
}

Bytes PackedWeights::bytes_for(const Network& network) { return Bytes{table_of(network).bytes}; }

Result<PackedWeights> PackedWeights::open(const fs::path& path, const Gguf& source,
                                          const Network& network) {
  auto in_use = std::make_unique<Descriptor>(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (in_use->number >= 0) ::flock(in_use->number, LOCK_SH);  // else the next lines say why
  Result<MappedFile> file = MappedFile::open(path);
  if (!file) return file.error();
  Head head;
  if (file->bytes().size() < static_cast<size_t>(kHeadBytes)) return stale(path, "is cut short");
  std::memcpy(&head, file->bytes().data(), sizeof head);
  if (head.magic != kPackedMagic) return stale(path, "is no packed model");
  if (head.version != kVersion || head.rows_a_panel != kRowsAPanel) {
    return stale(path, "is of another version");
  }
  if (Status ours = check_owner(path, source); !ours) return ours.error();
  const Table table = table_of(network);
  if (head.bytes != static_cast<uint64_t>(table.bytes) || head.table != table_hash(table)) {
    return stale(path, "was made from another model");
  }
  if (file->bytes().size() != static_cast<size_t>(table.bytes)) return stale(path, "is cut short");
  if (Status same = check_source(path, head, source); !same) return same.error();
  const std::array<timespec, 2> times{{{0, UTIME_NOW}, {0, UTIME_OMIT}}};
  ::futimens(in_use->number, times.data());  // a file of others keeps its own
  PackedWeights packed;
  packed.in_use_ = std::move(in_use);
  packed.file_ = std::move(*file);
  return packed;
}

Status PackedWeights::build(const fs::path& path, const Gguf& source, const Network& network,
                            Pool& pool, const Progress& progress) {
  const Table table = table_of(network);
  Status room = check_free_disk(fs::absolute(path).parent_path(), Bytes{table.bytes} + kDiskSlack,
                                "packed weights");
  if (!room) return room;
  const fs::path temporary = path.string() + ".part";
  Result<std::optional<FileLock>> lock = FileLock::try_take(temporary);
  if (!lock) return lock.error();
  if (!*lock) {
    Result<FileLock> later = FileLock::take(temporary);
    if (!later) return later.error();
    lock->emplace(std::move(*later));
    if (open(path, source, network)) {  // whom we waited for has made it
      (*lock)->remove_file();
      return {};
    }
  }
  Status filled = fill((*lock)->descriptor(), temporary, path, table, source, pool, progress);
  if (!filled) (*lock)->remove_file();
  return filled;
}

void PackedWeights::use_in(Network& network) const {
  const Table table = table_of(network);
  std::unordered_map<const std::byte*, const Place*> places;
  for (const Place& place : table.places) places.emplace(place.source.data, &place);
  visit_matrices(network, [&](Matrix& matrix) {
    if (!is_packable(matrix)) return;
    const Place& place = *places.at(matrix.data);
    matrix.data = file_.bytes().data() + place.offset;
    matrix.layout = place.layout;
  });
  visit_vectors(network, [&](const float*& vector, int64_t size) {
    network.owned.emplace_back(vector, vector + size);
    vector = network.owned.back().data();
  });
}

void PackedWeights::set_walks(Network& network,
                              const std::function<Walk(std::span<const Matrix>)>& choose) {
  std::map<DType, std::vector<Matrix>> types;
  std::unordered_set<const std::byte*> seen;
  visit_matrices(network, [&](const Matrix& matrix) {
    if (matrix.layout != Layout::kPanels || !seen.insert(matrix.data).second) return;
    types[matrix.dtype].push_back(matrix);
  });
  for (const auto& [dtype, matrices] : types) {
    const Walk walk = choose(matrices);
    visit_matrices(network, [&, type = dtype](Matrix& matrix) {
      if (matrix.layout == Layout::kPanels && matrix.dtype == type) matrix.walk = walk;
    });
  }
}

}  // namespace ration
