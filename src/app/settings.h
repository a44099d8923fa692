// app/settings.h - everything a command line can say, with the defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unit.h"
#include "run/run.h"

namespace ration {

// Whether tokens are guessed ahead, and how.
enum class Speculate : uint8_t { kAuto, kNgram, kOff };

// What keys and values may be kept as, by name: f16 or int8.
inline Result<KvType> parse_kv_type(std::string_view text) {
  for (const KvType type : {KvType::kF16, KvType::kInt8}) {
    if (text == kv_type_name(type)) return type;
  }
  return Error{Code::kInvalid, "found '" + std::string(text) + "', wanted f16 or int8"};
}

// As many tokens as anybody may ask for.
inline constexpr int64_t kTokensMax = int64_t{1} << 31;

struct Settings {
  std::string command;
  std::string model;               // a path or reference; "" means the default model
  std::vector<std::string> words;  // positional arguments after the model; of serve: more models

  // What may be spent.
  std::optional<Bytes> memory;        // none: what the machine has free
  std::optional<Bytes> disk;          // none: the configuration's, else what the disk has free
  int threads = 0;                    // 0: the CPUs this process may use
  int64_t context = 0;                // 0: what the model allows and the budget holds
  KvType kv = KvType::kF16;           // what keys and values are kept as
  std::optional<Bytes> prefix_cache;  // none: all of the cache that nobody needs
  Bytes prefix_disk{0};               // the same, on the disk
  bool reproducible = false;          // prompts take over nothing that was generated
  bool share_prefixes = false;        // prompts take over what was computed for other keys
  std::optional<int64_t> max_tokens;
  std::optional<Millis> deadline;

  // Sampling; unset: the command's default.
  std::optional<uint64_t> seed;
  SamplerOptions sampler{.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  std::vector<std::string> stop;

  std::optional<std::string> prompt_file;  // -f; "-" is standard input
  std::optional<std::string> system;       // system message
  std::optional<std::string> config_file;
  bool raw = false;  // no chat template
  bool json = false;
  bool special = false;   // show or parse special tokens
  bool truncate = false;  // of texts that are too long to embed, the beginning is
  bool quiet = false;
  bool offline = false;
  bool packed = true;  // weights are used from a packed copy beside the model
  Speculate speculate = Speculate::kAuto;
  std::string draft;  // a smaller model that guesses; "" is none
  bool deep = true;   // prompts may be multiplied in int8 throughout, where the set gains by it
  bool force = false;

  // perplexity
  std::optional<std::string> text_file;
  std::optional<std::string> tokens_file;
  int64_t top = 0;

  // bench
  int64_t prefill = 128;
  int64_t decode = 64;
  int64_t sequences = 1;
  int64_t depth = 0;
  int64_t rounds = 3;

  // doctor
  bool tune = false;

  // top
  Millis every{1000};

  // serve
  std::string host = "127.0.0.1";
  int port = 11500;
  int64_t sequences_max = 16;
  int64_t connections_max = 2048;
  bool log_requests = false;  // a line of JSON each, on standard error
  bool log_prompts = false;   // with what was asked
};

}  // namespace ration
