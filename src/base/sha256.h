// base/sha256.h - SHA-256 of a stream, by OpenSSL's libcrypto.
//
// The library is opened at the first use and not linked: commands that hash nothing do not pay for
// mapping it.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ration {

// single-thread.
class Sha256 {
 public:
  // kUnsupported when libcrypto is not installed; the message says what to install.
  static Result<Sha256> start();

  void update(std::span<const std::byte> bytes);
  // 64 lower-case hex digits; the object is used up.
  std::string finish();

 private:
  struct Release {
    void operator()(void* context) const;
  };
  explicit Sha256(void* context) : context_(context) {}
  std::unique_ptr<void, Release> context_;  // an EVP_MD_CTX
};

// Of a short text at once.
Result<std::string> sha256_of(std::string_view text);

}  // namespace ration
