#include "serve/keys.h"

#include "base/sha256.h"

namespace ration {
namespace {

bool same_digest(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned differs = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    differs |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return differs == 0;
}

}  // namespace

Result<const ServeKey*> Keys::find(std::string_view secret) const {
  const Result<std::string> digest = sha256_of(secret);
  if (!digest) return digest.error();
  const ServeKey* found = nullptr;
  for (const ServeKey& key : keys_) {
    if (same_digest(key.sha256, *digest)) found = &key;
  }
  return found;
}

}  // namespace ration
