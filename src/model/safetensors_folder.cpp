#include "model/safetensors_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/safetensors.h"
#include "model/tokenizer/characters.h"
#include "model/tokenizer/metadata.h"

namespace ration {
namespace {

namespace fs = std::filesystem;
using Type = GgufValue::Type;

constexpr Bytes kConfigMax{kMiB};
constexpr Bytes kVocabularyMax{16 * kMiB};
constexpr int kConfigDepth = 16;
constexpr int64_t kNumberMax = 1 << 24;

struct Renaming {
  std::string_view theirs;
  std::string_view ours;  // "": of no use for vectors
};
constexpr std::array kRoots{
    Renaming{"embeddings.word_embeddings.", "token_embd."},
    Renaming{"embeddings.position_embeddings.", "position_embd."},
    Renaming{"embeddings.token_type_embeddings.", "token_types."},
    Renaming{"embeddings.LayerNorm.", "token_embd_norm."},
    Renaming{"pooler.", ""},
    Renaming{"cls.", ""},
};
constexpr std::array kOfLayers{
    Renaming{"attention.self.query.", "attn_q."},
    Renaming{"attention.self.key.", "attn_k."},
    Renaming{"attention.self.value.", "attn_v."},
    Renaming{"attention.output.dense.", "attn_output."},
    Renaming{"attention.output.LayerNorm.", "attn_output_norm."},
    Renaming{"intermediate.dense.", "ffn_up."},
    Renaming{"output.dense.", "ffn_down."},
    Renaming{"output.LayerNorm.", "layer_output_norm."},
};
// Norms of older files.
constexpr std::array kEndings{Renaming{"gamma", "weight"}, Renaming{"beta", "bias"}};

template <class Table>
std::optional<std::string> renamed(const Table& table, std::string_view name) {
  for (const Renaming& row : table) {
    if (!name.starts_with(row.theirs)) continue;
    if (row.ours.empty()) return "";
    std::string_view ending = name.substr(row.theirs.size());
    for (const Renaming& other : kEndings) {
      if (ending == other.theirs) ending = other.ours;
    }
    return std::string(row.ours) + std::string(ending);
  }
  return std::nullopt;
}

// The name of the tensor in a GGUF file; "" where it is left out; its own where we know none.
std::string tensor_name(std::string_view name) {
  constexpr std::string_view kLayers = "encoder.layer.";
  std::string_view rest = name;
  if (rest.starts_with("bert.")) rest.remove_prefix(5);
  if (const auto root = renamed(kRoots, rest)) return *root;
  if (!rest.starts_with(kLayers)) return std::string(name);
  rest.remove_prefix(kLayers.size());
  int layer = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  if (error != std::errc() || end == rest.data() + rest.size() || *end != '.') {
    return std::string(name);
  }
  rest.remove_prefix(static_cast<size_t>(end - rest.data()) + 1);
  const auto part = renamed(kOfLayers, rest);
  return part ? fmt::format("blk.{}.{}", layer, *part) : std::string(name);
}

// One JSON file of the folder. The first thing that is wrong sticks.
class ConfigFile {
 public:
  static Result<std::optional<ConfigFile>> open(const fs::path& folder, std::string_view name) {
    const Result<std::string> text = read_file(folder / name, kConfigMax);
    if (!text && text.error().code == Code::kNotFound) return std::optional<ConfigFile>();
    if (!text) return text.error();
    Result<Json> json = parse_json(*text, kConfigDepth);
    if (!json)
      return Error{Code::kCorrupt,
                   fmt::format("{}: {}", name, to_valid_utf8(json.error().message))};
    return std::optional(ConfigFile(std::string(name), std::move(*json)));
  }

  const Json& json() const { return json_; }

  int64_t number(const char* key, std::optional<int64_t> fallback = std::nullopt) {
    const Json* value = find(key);
    if (!value && fallback) return *fallback;
    if (value && value->is_number_integer()) {
      const int64_t found = value->get<int64_t>();
      if (found >= 1 && found <= kNumberMax) return found;
    }
    refuse(key, fmt::format("no number from 1 to {}", kNumberMax));
    return 1;
  }
  double fraction(const char* key, double fallback) {
    const Json* value = find(key);
    if (!value) return fallback;
    if (value->is_number()) return value->get<double>();
    refuse(key, "no number");
    return fallback;
  }
  std::string text(const char* key, std::string_view fallback) {
    const Json* value = find(key);
    if (!value) return std::string(fallback);
    if (value->is_string()) return value->get<std::string>();
    refuse(key, "no text");
    return std::string(fallback);
  }
  std::optional<bool> flag(const char* key) {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    if (value->is_boolean()) return value->get<bool>();
    refuse(key, "neither true nor false");
    return std::nullopt;
  }
  // Null when it is missing or null.
  const Json* find(const char* key) const {
    if (!json_.is_object()) return nullptr;
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  void refuse(std::string_view key, std::string_view what, Code code = Code::kCorrupt) {
    if (!error_) error_ = Error{code, fmt::format("{}: '{}' is {}", name_, key, what)};
  }
  const std::optional<Error>& error() const { return error_; }

 private:
  ConfigFile(std::string name, Json json) : name_(std::move(name)), json_(std::move(json)) {}

  std::string name_;
  Json json_;
  std::optional<Error> error_;
};

// GGUF values, whose bytes are kept in `model`.
class Writer {
 public:
  explicit Writer(ImportedModel& model) : model_(model) {}

  void text(std::string key, std::string_view text) {
    put(std::move(key), Type::kString, std::string(text));
  }
  void number(std::string key, int64_t number) {
    put(std::move(key), Type::kI64, bytes_of(number));
  }
  void fraction(std::string key, double number) {
    put(std::move(key), Type::kF64, bytes_of(number));
  }
  void flag(std::string key, bool flag) {
    put(std::move(key), Type::kBool, std::string(1, flag ? '\1' : '\0'));
  }
  void texts(std::string key, const std::vector<std::string>& texts) {
    std::string bytes;
    for (const std::string& text : texts) {
      bytes += bytes_of(static_cast<uint64_t>(text.size()));
      bytes += text;
    }
    put(std::move(key), Type::kArray, std::move(bytes), Type::kString, texts.size());
  }
  void types(std::string key, const std::vector<TokenType>& types) {
    std::string bytes;
    for (const TokenType type : types) bytes += bytes_of(static_cast<int32_t>(type));
    put(std::move(key), Type::kArray, std::move(bytes), Type::kI32, types.size());
  }

 private:
  template <class T>
  static std::string bytes_of(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  void put(std::string key, Type type, std::string bytes, Type element = Type::kU8,
           uint64_t count = 1) {
    const std::string& kept = model_.owned.emplace_back(std::move(bytes));
    model_.header.entries.push_back({std::move(key),
                                     {.type = type,
                                      .element = element,
                                      .count = count,
                                      .bytes = std::as_bytes(std::span(kept))}});
  }

  ImportedModel& model_;
};

// A folder's way to GGUF's words, one file after the other.
class Import {
 public:
  Import(const fs::path& folder, ImportedModel& model)
      : folder_(folder), writer_(model), model_(model) {}

  Status run(std::span<const std::byte> weights) {
    if (Status read = read_config(); !read) return read;
    if (Status read = read_modules(); !read) return read;
    if (Status read = read_vocabulary(); !read) return read;
    if (Status read = read_tokenizer_config(); !read) return read;
    Result<std::vector<GgufTensor>> tensors = read_safetensors(weights);
    if (!tensors) return tensors.error();
    for (GgufTensor& tensor : *tensors) {
      tensor.name = tensor_name(tensor.name);
      if (!tensor.name.empty()) model_.header.tensors.push_back(std::move(tensor));
    }
    return {};
  }

 private:
  Status read_config();
  Status read_modules();
  Status read_pooling(std::string_view name);
  Status read_vocabulary();
  Status read_tokenizer_config();

  const fs::path& folder_;
  Writer writer_;
  ImportedModel& model_;
  int64_t positions_ = 0;
};

Status Import::read_config() {
  Result<std::optional<ConfigFile>> opened = ConfigFile::open(folder_, "config.json");
  if (!opened) return opened.error();
  if (!*opened) return Error{Code::kNotFound, "there is no config.json beside the weights"};
  ConfigFile& config = **opened;
  const std::string family = config.text("model_type", "");
  if (family != "bert") {
    return Error{Code::kUnsupported,
                 fmt::format("config.json: found the model type {}, wanted 'bert'; other families "
                             "are read from GGUF files",
                             gguf_quoted(family))};
  }
  const std::string activation = config.text("hidden_act", "gelu");
  if (activation != "gelu") {
    config.refuse("hidden_act", fmt::format("{}, wanted 'gelu'", gguf_quoted(activation)),
                  Code::kUnsupported);
  }
  const std::string places = config.text("position_embedding_type", "absolute");
  if (places != "absolute") {
    config.refuse("position_embedding_type",
                  fmt::format("{}, wanted 'absolute'", gguf_quoted(places)), Code::kUnsupported);
  }
  positions_ = config.number("max_position_embeddings", 512);
  writer_.text("general.architecture", "bert");
  writer_.text("general.name", model_name(folder_ / "model.safetensors"));
  writer_.number("bert.embedding_length", config.number("hidden_size"));
  writer_.number("bert.block_count", config.number("num_hidden_layers"));
  writer_.number("bert.feed_forward_length", config.number("intermediate_size"));
  writer_.number("bert.attention.head_count", config.number("num_attention_heads"));
  writer_.fraction("bert.attention.layer_norm_epsilon", config.fraction("layer_norm_eps", 1e-12));
  writer_.flag("bert.attention.causal", false);
  if (config.error()) return *config.error();
  return {};
}

// What sentence-transformers does around the encoder: pooling, a length, a norm. Without its files,
// the mean of all tokens, as that library has it then too.
Status Import::read_modules() {
  Result<std::optional<ConfigFile>> opened = ConfigFile::open(folder_, "modules.json");
  if (!opened) return opened.error();
  std::string pooling = "1_Pooling";
  if (*opened) {
    const Json& modules = (*opened)->json();
    for (const Json& module : modules) {
      const auto text = [&](const char* key) {
        const bool has = module.is_object() && module.contains(key) && module[key].is_string();
        return has ? module[key].get<std::string>() : std::string();
      };
      const std::string type = text("type");
      const std::string kind = type.substr(type.rfind('.') + 1);
      if (kind == "Pooling") pooling = text("path");
      if (kind == "Transformer" || kind == "Pooling" || kind == "Normalize") continue;
      return Error{Code::kUnsupported,
                   fmt::format("modules.json: found a module {}, wanted Transformer, Pooling and "
                               "Normalize",
                               gguf_quoted(type))};
    }
  }
  if (pooling.empty() || pooling.front() == '/' || pooling.find("..") != std::string::npos) {
    return Error{Code::kCorrupt, "modules.json: the path of the pooling is not one of the folder"};
  }
  if (Status read = read_pooling(pooling + "/config.json"); !read) return read;
  opened = ConfigFile::open(folder_, "sentence_bert_config.json");
  if (!opened) return opened.error();
  int64_t context = positions_;
  if (*opened) {
    context = std::min(context, (*opened)->number("max_seq_length", positions_));
    if ((*opened)->error()) return *(*opened)->error();
  }
  writer_.number("bert.context_length", context);
  return {};
}

// {"pooling_mode": "mean"}, or of older versions {"pooling_mode_mean_tokens": true}.
std::vector<std::string> pooling_modes(const Json& config) {
  constexpr std::string_view kFlag = "pooling_mode_";
  std::vector<std::string> modes;
  if (!config.is_object()) return modes;
  for (const auto& [key, value] : config.items()) {
    if (key.starts_with(kFlag) && value == true) modes.push_back(key.substr(kFlag.size()));
    if (key != "pooling_mode") continue;
    for (const Json& mode : value.is_array() ? value : Json::array({value})) {
      modes.push_back(mode.is_string() ? mode.get<std::string>() : to_text(mode));
    }
  }
  return modes;
}

Status Import::read_pooling(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, int64_t>, 5> kWays{
      {{"mean", 1}, {"mean_tokens", 1}, {"cls", 2}, {"cls_token", 2}, {"lasttoken", 3}}};
  Result<std::optional<ConfigFile>> opened = ConfigFile::open(folder_, name);
  if (!opened) return opened.error();
  const std::vector<std::string> modes =
      *opened ? pooling_modes((*opened)->json()) : std::vector<std::string>{"mean"};
  const auto* way = std::ranges::find(kWays, modes.empty() ? "mean" : std::string_view(modes[0]),
                                      [](const auto& pair) { return pair.first; });
  if (modes.size() > 1 || way == kWays.end()) {
    return Error{Code::kUnsupported,
                 fmt::format("{}: found the pooling {}, wanted one of mean, cls and lasttoken",
                             name, gguf_quoted(fmt::format("{}", fmt::join(modes, " + "))))};
  }
  writer_.number("bert.pooling_type", way->second);
  return {};
}

// A token a line. GGUF marks the beginnings of words, where WordPiece marks what continues them.
Status Import::read_vocabulary() {
  const Result<std::string> text = read_file(folder_ / "vocab.txt", kVocabularyMax);
  if (!text && text.error().code == Code::kNotFound) {
    return Error{Code::kNotFound, "there is no vocab.txt beside the weights"};
  }
  if (!text) return text.error();
  std::vector<std::string> tokens;
  std::vector<TokenType> types;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view line = take_line(rest);
    const bool marked = line.size() > 2 && line.starts_with('[') && line.ends_with(']');
    TokenType type = TokenType::kNormal;
    for (const auto& [name, key] : {std::pair{"[CLS]", "bos"},
                                    {"[SEP]", "seperator"},  // spelt so in the format
                                    {"[UNK]", "unknown"},
                                    {"[PAD]", "padding"},
                                    {"[MASK]", "mask"}}) {
      if (line != name) continue;
      type = TokenType::kControl;
      writer_.number(fmt::format("tokenizer.ggml.{}_token_id", key),
                     static_cast<int64_t>(tokens.size()));
    }
    types.push_back(type);
    if (marked) {
      tokens.emplace_back(line);
    } else if (line.size() > 2 && line.starts_with("##")) {
      tokens.emplace_back(line.substr(2));
    } else {
      tokens.push_back(std::string(kEscapedSpace) + std::string(line));
    }
  }
  writer_.text("tokenizer.ggml.model", "bert");
  writer_.texts("tokenizer.ggml.tokens", tokens);
  writer_.types("tokenizer.ggml.token_type", types);
  return {};
}

Status Import::read_tokenizer_config() {
  Result<std::optional<ConfigFile>> opened = ConfigFile::open(folder_, "tokenizer_config.json");
  if (!opened) return opened.error();
  bool lowercase = true;
  std::optional<bool> strips;
  if (*opened) {
    lowercase = (*opened)->flag("do_lower_case").value_or(true);
    strips = (*opened)->flag("strip_accents");
    if ((*opened)->error()) return *(*opened)->error();
  }
  writer_.flag("tokenizer.ggml.normalizer.lowercase", lowercase);
  writer_.flag("tokenizer.ggml.normalizer.strip_accents", strips.value_or(lowercase));
  writer_.flag("tokenizer.ggml.wordpiece_exact", true);
  return {};
}

}  // namespace

Result<ImportedModel> import_safetensors(std::span<const std::byte> weights,
                                         const fs::path& folder) {
  ImportedModel model;
  if (Status done = Import(folder, model).run(weights); !done) return done.error();
  return model;
}

}  // namespace ration
