// serve/model_card.h - what pages tell of a model, whether it is in memory or not. Private to
// serve/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unit.h"
#include "model/gguf.h"
#include "model/network.h"

namespace ration {

// Of its file's head; shared-const.
struct ModelCard {
  std::vector<std::string> names;  // the first is its id
  int64_t created = 0;             // when the server began to offer it; seconds since 1970
  std::string family;
  std::string main_type;  // the type that most of the weights have
  std::string digest;     // tells files apart
  std::string template_source;
  Bytes file_bytes;
  Bytes tensor_bytes;
  int64_t parameters = 0;
  int64_t context_trained = 0;
  int64_t width = 0;
  int64_t vocabulary = 0;
  bool writes = true;  // false: an encoder, for vectors alone
  bool knows_calls = false;
  bool thinks = false;
};

ModelCard make_card(std::vector<std::string> names, const Gguf& file, const Network& network);
// Opens the file for it. Errors as Gguf::open() and load_network().
Result<ModelCard> read_card(std::vector<std::string> names, const std::filesystem::path& path);

// A model at the moment of looking.
struct ModelView {
  const ModelCard& card;
  std::string_view status;                 // "unloaded", "loading" or "loaded"
  Bytes bytes{};                           // that it takes in memory, or would
  int64_t context = 0;                     // tokens of one conversation; 0: not loaded
  std::optional<int64_t> expires_in = {};  // seconds until it goes when idle; none: it stays
};

}  // namespace ration
