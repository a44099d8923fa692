#include "base/sha256.h"

#include <fmt/core.h>
#include <openssl/evp.h>

#include <array>

#include "base/check.h"
#include "base/library.h"

namespace ration {
namespace {

// The functions used, with the types of OpenSSL's header.
struct Crypto {
  decltype(&EVP_MD_CTX_new) context_new = nullptr;
  decltype(&EVP_MD_CTX_free) context_free = nullptr;
  decltype(&EVP_sha256) sha256 = nullptr;
  decltype(&EVP_DigestInit_ex) init = nullptr;
  decltype(&EVP_DigestUpdate) update = nullptr;
  decltype(&EVP_DigestFinal_ex) final = nullptr;
  std::string problem;

  Crypto() {
    SharedLibrary library({"libcrypto.so.3"});
    library.load(context_new, "EVP_MD_CTX_new");
    library.load(context_free, "EVP_MD_CTX_free");
    library.load(sha256, "EVP_sha256");
    library.load(init, "EVP_DigestInit_ex");
    library.load(update, "EVP_DigestUpdate");
    library.load(final, "EVP_DigestFinal_ex");
    problem = library.problem();
    if (!library.is_open()) problem += ": install it with 'apt-get install libssl3'";
  }
};

const Crypto& crypto() {
  static const Crypto library;
  return library;
}

}  // namespace

void Sha256::Release::operator()(void* context) const {
  crypto().context_free(static_cast<EVP_MD_CTX*>(context));
}

Result<Sha256> Sha256::start() {
  if (!crypto().problem.empty()) return Error{Code::kUnsupported, crypto().problem};
  Sha256 hash(crypto().context_new());
  CHECK(hash.context_ != nullptr);
  CHECK(crypto().init(static_cast<EVP_MD_CTX*>(hash.context_.get()), crypto().sha256(), nullptr) ==
        1);
  return hash;
}

void Sha256::update(std::span<const std::byte> bytes) {
  CHECK(crypto().update(static_cast<EVP_MD_CTX*>(context_.get()), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  CHECK(crypto().final(static_cast<EVP_MD_CTX*>(context_.get()), digest.data(), &length) == 1);
  context_.reset();
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

Result<std::string> sha256_of(std::string_view text) {
  Result<Sha256> hash = Sha256::start();
  if (!hash) return hash.error();
  hash->update(std::as_bytes(std::span(text)));
  return hash->finish();
}

}  // namespace ration
