// Ed25519 (RFC 8032, pure) over OpenSSL 3, and the key file that the log signs with.
// The key file is PEM (PKCS #8, readable by the openssl command line), mode 0600.
// Thread: const members may be called from any thread. Owner: the private key stays in OpenSSL's
// memory.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <string>
#include <string_view>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

using Ed25519PublicKey = std::array<uint8_t, 32>;
using Ed25519Signature = std::array<uint8_t, 64>;

class Ed25519Key {
 public:
  static Result<Ed25519Key> generate();
  static Result<Ed25519Key> from_seed(std::string_view seed32);

  // Refuses a file that anybody but its owner may read or write.
  static Result<Ed25519Key> load(const std::string& path);
  // Makes a new key; an existing file is an error, never replaced. Durable when it returns.
  static Result<Ed25519Key> create(const std::string& path);

  const Ed25519PublicKey& public_key() const { return public_key_; }
  Result<Ed25519Signature> sign(std::string_view message) const;

 private:
  using Handle = Owned<EVP_PKEY, EVP_PKEY_free>;
  static Result<Ed25519Key> from_handle(Handle handle);
  Ed25519Key(Handle handle, const Ed25519PublicKey& public_key)
      : handle_(std::move(handle)), public_key_(public_key) {}

  Handle handle_;
  Ed25519PublicKey public_key_;
};

bool ed25519_verify(const Ed25519PublicKey& key, std::string_view message,
                    std::string_view signature64);

}  // namespace infertrail
