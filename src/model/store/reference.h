// model/store/reference.h - what a user typed, taken apart. Private to the store.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ration {

struct HubSource {
  std::string repository{};  // "user/repo"
  std::string revision{};    // "main" unless stated
  std::string quant{};       // upper case; "" when the choice is ours
  std::string file{};        // path inside the repository; "" unless one was named
};

struct PipSource {
  std::vector<std::string> packages{};  // "name==version", in the order in which they are joined
  std::string pattern{};                // which members of a package, a shell glob
  // More than one: members of the one package that are files of their own, each by its name.
  std::vector<std::string> files{};
};

struct Reference {
  enum class Kind : uint8_t { kPath, kName, kHub, kUrl, kPip, kOllama };
  Kind kind = Kind::kName;
  std::string text{};            // in canonical form: equal texts mean the same thing
  std::filesystem::path path{};  // kPath, "~/" replaced
  HubSource hub{};               // kHub
  PipSource pip{};               // kPip
  std::string url{};             // kUrl, without its fragment
  std::string sha256{};          // kUrl: from "#sha256=", else ""
  std::string ollama{};          // kOllama: "name:tag"
};

// Pure but for HOME. kInvalid says what is wrong with the text.
Result<Reference> parse_reference(std::string_view text);

// The name a pulled model gets when it is not from the catalogue.
std::string local_name(const Reference& reference);

// Whether `text` is 64 lower-case hex digits: the only thing that may become a blob's file name.
bool is_sha256(std::string_view text);

// `text` in a form that is one path component: what is not a letter, digit, '.', '_' or '-' becomes
// %XX, and so does a leading '.'; at most 200 bytes.
std::string file_name_for(std::string_view text);

}  // namespace ration
