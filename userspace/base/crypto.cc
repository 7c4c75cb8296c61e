#include "base/crypto.h"

#include <openssl/hmac.h>
#include <sys/random.h>

#include <cerrno>
#include <cstring>

#include "base/bytes.h"

namespace infertrail {

// SHA-256 is in every libcrypto: a refusal is a broken installation or no memory, and a trail
// whose hashes cannot be computed must not go on.
Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  IT_CHECK(context_ != nullptr);
  start();
}

void Sha256::start() {
  IT_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Sha256::update(std::string_view bytes) {
  IT_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::finish() {
  std::string out(kSha256Bytes, '\0');
  unsigned length = 0;
  auto* bytes = reinterpret_cast<unsigned char*>(out.data());
  IT_CHECK(EVP_DigestFinal_ex(context_.get(), bytes, &length) == 1 && length == kSha256Bytes);
  start();
  return out;
}

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

std::string hmac_sha256(std::string_view key, std::string_view bytes) {
  IT_CHECK(key.size() <= INT32_MAX);
  std::string out(kSha256Bytes, '\0');
  unsigned length = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  IT_CHECK(HMAC(EVP_sha256(), key.data() != nullptr ? key.data() : "", static_cast<int>(key.size()),
                data, bytes.size(), reinterpret_cast<unsigned char*>(out.data()),
                &length) != nullptr &&
           length == kSha256Bytes);
  return out;
}

Result<std::string> random_bytes(size_t count) {
  std::string out(count, '\0');
  for (size_t done = 0; done < count;) {
    ssize_t got = ::getrandom(out.data() + done, count - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{Code::kIo, std::string("getrandom: ") + std::strerror(errno)};
    done += static_cast<size_t>(got);
  }
  return out;
}

Result<std::string> uuid_v7(uint64_t unix_ns) {
  TRY(std::string bytes, random_bytes(16));
  uint64_t milliseconds = unix_ns / 1000000;
  uint64_t fraction = unix_ns % 1000000 * 4096 / 1000000;
  for (int i = 0; i < 6; i++) bytes[i] = static_cast<char>(milliseconds >> (40 - 8 * i));
  bytes[6] = static_cast<char>(0x70 | fraction >> 8);
  bytes[7] = static_cast<char>(fraction);
  bytes[8] = static_cast<char>((bytes[8] & 0x3F) | 0x80);
  std::string out = hex(bytes);
  for (size_t at : {8, 13, 18, 23}) out.insert(at, 1, '-');
  return out;
}

}  // namespace infertrail
