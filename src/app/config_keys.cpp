// The keys of `ration serve`, as the configuration has them.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "app/config_reader.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/text.h"

namespace ration {
namespace {

constexpr size_t kSecretLeast = 16;
constexpr Bytes kSecretFileMax{64 * kKiB};

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<std::string> secret_in(const std::filesystem::path& file) {
  Result<std::string> text = read_file(file, kSecretFileMax);
  if (!text) return text.error();
  text->resize(text->find_last_not_of(" \t\r\n") + 1);
  return text;
}

// The digest of the one of secret, secret_file and sha256 that is there.
Result<std::string> digest_of(TableReader& reader, const std::filesystem::path& folder) {
  std::string secret = reader.text("secret");
  const std::string secret_file = reader.text("secret_file");
  const std::string sha256 = reader.text("sha256");
  if (!secret.empty() + !secret_file.empty() + !sha256.empty() != 1) {
    return Error{Code::kInvalid, "wanted one of secret, secret_file and sha256"};
  }
  if (!sha256.empty()) {
    if (is_digest(sha256)) return sha256;
    return Error{Code::kInvalid, "'sha256' is not 64 lower-case hex digits"};
  }
  if (!secret_file.empty()) {
    Result<std::string> read = secret_in(folder / secret_file);
    if (!read) return read.error();
    secret = std::move(*read);
  }
  if (secret.size() < kSecretLeast) {
    return Error{Code::kInvalid, fmt::format("found a secret of {} characters, wanted {} or more",
                                             secret.size(), kSecretLeast)};
  }
  return sha256_of(secret);
}

Result<ServeKey> read_key(const toml::table& table, const std::filesystem::path& file) {
  TableReader reader(table, "[[keys]] ", file);
  ServeKey key{.name = reader.text("name")};
  Result<std::string> digest = digest_of(reader, file.parent_path());
  key.priority_max =
      static_cast<int32_t>(reader.integer("priority_max", -kPriorityMax, kPriorityMax).value_or(0));
  key.models = reader.texts("models");
  if (key.name.empty()) reader.refuse(table, "wanted a name");
  if (!digest) reader.refuse(table, digest.error().message);
  if (Status read = reader.finish(); !read) return read.error();
  key.sha256 = std::move(*digest);
  return key;
}

constexpr const char* kVariable = "RATION_API_KEY";

}  // namespace

Result<std::vector<ServeKey>> keys_to_serve(const Config& config) {
  std::vector<ServeKey> keys = config.keys;
  const char* secret = std::getenv(kVariable);
  if (!secret || !*secret) return keys;
  if (std::string_view(secret).size() < kSecretLeast) {
    return Error{Code::kInvalid,
                 fmt::format("{}: wanted {} characters or more", kVariable, kSecretLeast)};
  }
  Result<std::string> digest = sha256_of(secret);
  if (!digest) return digest.error();
  keys.push_back({.name = "environment", .sha256 = std::move(*digest)});
  return keys;
}

Result<std::string> new_key(std::string_view name) {
  std::array<uint8_t, 24> bytes{};
  if (::getentropy(bytes.data(), bytes.size()) != 0) {
    return Error{Code::kIo, "cannot read random bytes: " + error_text(errno)};
  }
  std::string secret = "rk-";
  for (const uint8_t byte : bytes) secret += fmt::format("{:02x}", byte);
  const Result<std::string> digest = sha256_of(secret);
  if (!digest) return digest.error();
  std::string quoted;
  append_json_string(quoted, name);  // a TOML string, too
  return fmt::format(
      "# the secret, which is kept nowhere: {}\n[[keys]]\nname = {}\nsha256 = "
      "\"{}\"\n",
      secret, quoted, *digest);
}

const std::string_view kKeysSchema =
    R"("keys":{"type":"array","items":{"type":"object","additionalProperties":false,)"
    R"("required":["name"],"properties":{"name":{"type":"string","minLength":1},)"
    R"("secret":{"type":"string","minLength":16},"secret_file":{"type":"string"},)"
    R"("sha256":{"type":"string","pattern":"^[0-9a-f]{64}$"},)"
    R"("priority_max":{"type":"integer","minimum":-100,"maximum":100},)"
    R"("models":{"type":"array","minItems":1,"items":{"type":"string"}}}}})";

Result<std::vector<ServeKey>> read_keys(const toml::node& keys, const std::filesystem::path& file) {
  const auto refuse = [&](const toml::node& where, std::string_view what) {
    return Error{Code::kInvalid,
                 fmt::format("{}, line {}: {}", file.string(), where.source().begin.line, what)};
  };
  const auto* tables = keys.as_array();
  if (!tables) return refuse(keys, "'keys' is not an array of tables: write [[keys]]");
  std::vector<ServeKey> found;
  for (const toml::node& node : *tables) {
    const auto* table = node.as_table();
    if (!table) return refuse(node, "'keys' is not an array of tables: write [[keys]]");
    Result<ServeKey> key = read_key(*table, file);
    if (!key) return key.error();
    if (std::ranges::find(found, key->name, &ServeKey::name) != found.end()) {
      return refuse(node, fmt::format("[[keys]] there are two named '{}'", key->name));
    }
    if (std::ranges::find(found, key->sha256, &ServeKey::sha256) != found.end()) {
      return refuse(node, fmt::format("[[keys]] '{}' has the secret of another", key->name));
    }
    found.push_back(std::move(*key));
  }
  return found;
}

}  // namespace ration
