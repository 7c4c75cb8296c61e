// Hashes, random bytes and record ids, by OpenSSL's libcrypto. Digests are raw bytes; see hex().
#pragma once

#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

inline constexpr size_t kSha256Bytes = 32;

// Incremental SHA-256. One thread at a time; move only. finish() leaves it ready for a new text.
class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  std::string finish();  // 32 bytes

 private:
  void start();
  Owned<EVP_MD_CTX, EVP_MD_CTX_free> context_;
};

std::string sha256(std::string_view bytes);                             // 32 bytes
std::string hmac_sha256(std::string_view key, std::string_view bytes);  // 32 bytes
Result<std::string> random_bytes(size_t count);                         // from the kernel

// RFC 9562 version 7, lower case. The 12 bits after the milliseconds hold their fraction (method
// 3), so ids of one clock sort by time down to a quarter of a microsecond.
Result<std::string> uuid_v7(uint64_t unix_ns);

}  // namespace infertrail
