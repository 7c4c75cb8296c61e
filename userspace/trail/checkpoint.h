// C2SP tlog-checkpoint in a signed note, and the verifier key (vkey) that checks it.
// Format source: c2sp.org/tlog-checkpoint, c2sp.org/signed-note, docs/formats.md. Parsed strictly:
// a text that is not the one canonical form is refused. Thread: none, value types.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/ed25519.h"
#include "base/result.h"
#include "trail/merkle.h"

namespace infertrail::trail {

struct Checkpoint {
  std::string origin;
  uint64_t size = 0;
  Hash root{};
};

// <name>+<8 hex digits of the key id>+<base64(0x01 || public key)>
struct VerifierKey {
  std::string name;
  Ed25519PublicKey key{};

  static Result<VerifierKey> parse(std::string_view text);  // without line end
  std::string text() const;
  std::string key_id() const;  // 4 bytes: SHA-256(name || "\n" || 0x01 || key)[:4]
};

// A log's name: not empty, no space, no '+', no control characters, valid UTF-8, at most 200 bytes.
Status check_origin(std::string_view origin);

// The signed note of `checkpoint`, ready to be a file.
Result<std::string> sign_checkpoint(const Checkpoint& checkpoint, const Ed25519Key& key);

// Reads a note and checks the one signature line of the log's own name and key id. Lines of other
// names (witnesses, epoch keys) are ignored; a second line of the log's name is refused.
Result<Checkpoint> open_checkpoint(std::string_view note, const VerifierKey& key);

}  // namespace infertrail::trail
