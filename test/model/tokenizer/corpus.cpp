#include "test/model/tokenizer/corpus.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "model/store/store.h"

namespace ration::corpus {

namespace {

std::filesystem::path here() {
  return std::filesystem::path(RATION_SOURCE_DIR) / "test/model/tokenizer";
}

std::string read_or_die(const std::filesystem::path& path) {
  Result<std::string> content = read_file(path, Bytes{8 * kMiB});
  CHECK(content, content.error().message);
  return *std::move(content);
}

int hex_digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

// One possibly escaped character at `at`, which moves behind it. See make_texts.py.
std::string unescape_one(std::string_view line, size_t& at) {
  if (line[at] != '\\') {
    const auto length = static_cast<size_t>(read_code_point(line.substr(at)).length);
    at += length;
    return std::string(line.substr(at - length, length));
  }
  const char kind = line[at + 1];
  at += 2;
  switch (kind) {
    case 'n':
      return "\n";
    case 'r':
      return "\r";
    case 't':
      return "\t";
    case 'x': {
      const int byte = hex_digit(line[at]) * 16 + hex_digit(line[at + 1]);
      at += 2;
      return {static_cast<char>(byte)};
    }
    case '*': {
      size_t count = 0;
      for (; line[at] != ';'; ++at) count = count * 10 + static_cast<size_t>(line[at] - '0');
      ++at;
      const std::string repeated = unescape_one(line, at);
      std::string out;
      for (size_t i = 0; i < count; ++i) out += repeated;
      return out;
    }
    default:
      CHECK(kind == '\\');
      return "\\";
  }
}

class Reader {
 public:
  explicit Reader(std::string_view data) : data_(data) {}
  std::string_view line() {
    const size_t end = data_.find('\n', at_);
    CHECK(end != std::string_view::npos);
    const std::string_view found = data_.substr(at_, end - at_);
    at_ = end + 1;
    return found;
  }
  uint8_t byte() { return static_cast<uint8_t>(data_.at(at_++)); }
  uint32_t number() {
    uint32_t value = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t part = byte();
      value |= (part & 0x7fu) << shift;
      if (part < 0x80) return value;
    }
  }
  bool done() const { return at_ == data_.size(); }

 private:
  std::string_view data_;
  size_t at_ = 0;
};

}  // namespace

std::vector<Text> read_texts() {
  const std::string file = read_or_die(here() / "texts.txt");
  std::vector<Text> texts;
  for (Reader reader(file); !reader.done();) {
    const std::string_view line = reader.line();
    Text text{.special = line[0] == 's', .text = {}};
    for (size_t at = 2; at < line.size();) text.text += unescape_one(line, at);
    texts.push_back(std::move(text));
  }
  return texts;
}

std::vector<Set> read_expected() {
  const std::string file = read_or_die(here() / "expected.bin");
  Reader reader(file);
  CHECK(reader.line() == "ration-expected 1");
  size_t set_count = 0;
  size_t text_count = 0;
  std::istringstream(std::string(reader.line())) >> set_count >> text_count;
  std::vector<Set> sets(set_count);
  for (Set& set : sets) {
    std::istringstream(std::string(reader.line())) >> set.file >> set.pre >> set.model;
  }
  for (size_t text = 0; text < text_count; ++text) {
    std::vector<std::vector<Token>> different(reader.number());
    for (std::vector<Token>& ids : different) {
      ids.resize(reader.number());
      for (Token& id : ids) id = static_cast<Token>(reader.number());
    }
    for (Set& set : sets) {
      const uint8_t which = reader.byte();
      if (which == 255)
        set.answers.emplace_back();
      else
        set.answers.emplace_back(different.at(which));
    }
  }
  CHECK(reader.done());
  return sets;
}

std::filesystem::path test_cache() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const auto cache = variable("RATION_TEST_CACHE"); !cache.empty()) return cache;
  const auto xdg = variable("XDG_CACHE_HOME");
  return (xdg.empty() ? variable("HOME") / ".cache" : xdg) / "ration/test";
}

std::optional<std::filesystem::path> find_file(const std::string& name) {
  if (name.starts_with("ggml-vocab-")) {
    const auto path = test_cache() / "llama-vocabularies" / (name + ".gguf");
    return std::filesystem::exists(path) ? std::optional(path) : std::nullopt;
  }
  if (const char* folder = std::getenv("RATION_TEST_MODELS"); folder != nullptr) {
    const auto path = std::filesystem::path(folder) / (name + ".gguf");
    if (std::filesystem::exists(path)) return path;
  }
  const SteadyClock clock;
  const Result<Store> store = Store::open(clock, {.offline = true});
  if (!store) return std::nullopt;
  const Result<ResolvedModel> found = store->resolve(name);
  return found ? std::optional(found->files.front()) : std::nullopt;
}

std::vector<std::string> vocabulary_names() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(test_cache() / "llama-vocabularies", error)) {
    if (entry.path().extension() == ".gguf") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool offline() {
  const char* value = std::getenv("RATION_OFFLINE_TESTS");
  return value != nullptr && std::string_view(value) == "1";
}

const Opened* open(const std::string& name) {
  static std::map<std::string, Opened> opened;
  if (const auto known = opened.find(name); known != opened.end()) return &known->second;
  const std::optional<std::filesystem::path> path = find_file(name);
  if (!path) {
    ADD_FAILURE() << name << ".gguf is missing: run test/fetch_vocabularies.sh";
    return nullptr;
  }
  Result<Gguf> file = Gguf::open(*path);
  if (!file) {
    ADD_FAILURE() << file.error().message;
    return nullptr;
  }
  Opened made{.file = std::make_unique<Gguf>(*std::move(file)), .metadata = {}, .tokenizer = {}};
  Result<TokenizerMetadata> metadata = read_metadata(*made.file);
  if (!metadata) {
    ADD_FAILURE() << name << ": " << metadata.error().message;
    return nullptr;
  }
  made.metadata = *std::move(metadata);
  made.tokenizer = make(made.metadata);
  if (made.tokenizer == nullptr) return nullptr;
  return &opened.emplace(name, std::move(made)).first->second;
}

std::unique_ptr<Tokenizer> make(const TokenizerMetadata& metadata) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = make_tokenizer(metadata);
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().message;
    return nullptr;
  }
  return *std::move(tokenizer);
}

std::string random_text(Rng& rng, size_t points_max, uint32_t points_end) {
  constexpr uint32_t kStarts[] = {0x20,  0x41,  0x61,   0xc0,   0x391,  0x410,  0x5d0,  0x627,
                                  0x905, 0xe01, 0x1100, 0x3041, 0x4e00, 0xac00, 0x1f600};
  std::string text;
  const size_t count = rng.below(points_max + 1);
  while (text.size() < count * 4 && rng.below(points_max * 4) != 0) {
    uint32_t point = 0;
    switch (rng.below(6)) {
      case 0:
        point = ' ';
        break;
      case 1:
        point = "\n\t\r.,'!?-0123456789<|>_/"[rng.below(24)];
        break;
      case 2:
        point = static_cast<uint32_t>(rng.below(points_end));
        break;
      case 3:
        point = static_cast<uint32_t>(rng.below(0x3000));
        break;
      default:
        point = kStarts[rng.below(std::size(kStarts))] + static_cast<uint32_t>(rng.below(26));
    }
    if (point >= 0xd800 && point < 0xe000) continue;
    for (uint64_t times = rng.below(8) == 0 ? rng.below(20) : 1; times > 0; --times) {
      append_code_point(text, point);
    }
  }
  return text;
}

std::string show(const Tokenizer& tokenizer, const std::vector<Token>& ids) {
  std::string out;
  for (const Token id : ids) out += fmt::format(" {} '{}'", id, tokenizer.piece(id, true));
  return out;
}

}  // namespace ration::corpus
