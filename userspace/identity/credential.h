// Which credential a request carried, without keeping it: a keyed fingerprint
// (HMAC-SHA256 under a key of this host), so that the same key gives the same id here and nothing
// that can be guessed elsewhere. Thread-safe: const.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "infertrail/record.pb.h"

namespace infertrail {

class Credentials {
 public:
  // Reads the 32-byte key, or makes it (0600). A file that others may read is refused.
  static Result<Credentials> open(const std::string& key_file);
  explicit Credentials(std::string key) : key_(std::move(key)) {}

  // Sets record->principal from the request headers (before masking), else from the peer process.
  void identify(Record* record) const;
  // "hmac-sha256:" and 32 hex digits.
  std::string fingerprint(std::string_view secret) const;

 private:
  std::string key_;
};

}  // namespace infertrail
