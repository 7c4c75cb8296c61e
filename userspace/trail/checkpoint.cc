#include "trail/checkpoint.h"

#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "trail/encoding.h"

namespace infertrail::trail {
namespace {

constexpr std::string_view kDash = "\xE2\x80\x94 ";  // U+2014 and a space

Error bad(const std::string& what) {
  return {Code::kCorrupt, what};
}

std::string text_of(const Checkpoint& checkpoint) {
  return checkpoint.origin + "\n" + std::to_string(checkpoint.size) + "\n" +
         base64_encode(bytes_of(checkpoint.root)) + "\n";
}

Result<Checkpoint> parse_text(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (lines.size() != 3)
    return bad("has " + std::to_string(lines.size()) +
               " lines of text, want 3 (origin, size, root)");
  Checkpoint checkpoint;
  checkpoint.origin = lines[0];
  TRY_STATUS(check_origin(checkpoint.origin));
  auto size = canonical_number(lines[1]);
  if (!size) return bad("the size is not a plain decimal number");
  checkpoint.size = *size;
  auto root = base64_decode(lines[2]);
  if (!root || root->size() != checkpoint.root.size())
    return bad("the root is not the base64 of 32 bytes");
  std::memcpy(checkpoint.root.data(), root->data(), root->size());
  return checkpoint;
}

struct SignatureLine {
  std::string_view name;
  std::string blob;  // key id and signature
};

Result<SignatureLine> parse_signature(std::string_view line) {
  if (!line.starts_with(kDash)) return bad("a signature line does not begin with a dash");
  line.remove_prefix(kDash.size());
  size_t space = line.find(' ');
  if (space == std::string_view::npos || space == 0) return bad("a signature line has no key name");
  auto blob = base64_decode(line.substr(space + 1));
  if (!blob || blob->size() < 5) return bad("a signature is not base64");
  return SignatureLine{line.substr(0, space), std::move(*blob)};
}

}  // namespace

Status check_origin(std::string_view origin) {
  std::string copy(origin);
  if (origin.empty() || origin.size() > 200 || repair_utf8(copy))
    return Error{Code::kInvalid, "the log's name must be 1 to 200 bytes of UTF-8"};
  for (unsigned char c : origin)
    if (c <= ' ' || c == '+' || c == 0x7f)
      return Error{Code::kInvalid, "the log's name must have no spaces, control characters or '+'"};
  return {};
}

std::string VerifierKey::key_id() const {
  std::string message = name + "\n\x01";
  message.append(reinterpret_cast<const char*>(key.data()), key.size());
  return std::string(bytes_of(sha256(message)).substr(0, 4));
}

std::string VerifierKey::text() const {
  std::string blob = "\x01";
  blob.append(reinterpret_cast<const char*>(key.data()), key.size());
  return name + "+" + hex(key_id()) + "+" + base64_encode(blob);
}

Result<VerifierKey> VerifierKey::parse(std::string_view text) {
  size_t first = text.find('+');
  size_t second = first == std::string_view::npos ? first : text.find('+', first + 1);
  if (second == std::string_view::npos) return bad("is not name+keyid+key");
  VerifierKey key;
  key.name = text.substr(0, first);
  TRY_STATUS(check_origin(key.name));
  auto blob = base64_decode(text.substr(second + 1));  // may hold '+' itself
  if (!blob || blob->size() != 33 || (*blob)[0] != 1) return bad("the key is not an Ed25519 key");
  std::memcpy(key.key.data(), blob->data() + 1, 32);
  if (text.substr(first + 1, second - first - 1) != hex(key.key_id()))
    return bad("the key id does not belong to the name and the key");
  return key;
}

Result<std::string> sign_checkpoint(const Checkpoint& checkpoint, const Ed25519Key& key) {
  VerifierKey verifier{checkpoint.origin, key.public_key()};
  std::string text = text_of(checkpoint);
  TRY(Ed25519Signature signature, key.sign(text));
  std::string blob = verifier.key_id();
  blob.append(reinterpret_cast<const char*>(signature.data()), signature.size());
  return text + "\n" + std::string(kDash) + checkpoint.origin + " " + base64_encode(blob) + "\n";
}

Result<Checkpoint> open_checkpoint(std::string_view note, const VerifierKey& key) {
  size_t blank = note.find("\n\n");
  if (blank == std::string_view::npos || note.back() != '\n') return bad("is not a signed note");
  std::string_view text = note.substr(0, blank + 1), rest = note.substr(blank + 2);
  TRY(Checkpoint checkpoint, parse_text(text));
  if (checkpoint.origin != key.name)
    return bad("is of the log \"" + checkpoint.origin + "\", the key is of \"" + key.name + "\"");
  bool found = false;
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    TRY(SignatureLine line, parse_signature(rest.substr(0, end)));
    rest.remove_prefix(end + 1);
    if (line.name != key.name) continue;
    if (found) return bad("has two signatures of the log's name");
    found = true;
    if (line.blob.size() != 68 || line.blob.substr(0, 4) != key.key_id())
      return bad("the signature has another key id");
    if (!ed25519_verify(key.key, text, std::string_view(line.blob).substr(4)))
      return bad("the signature is not valid");
  }
  if (!found) return bad("has no signature of \"" + key.name + "\"");
  return checkpoint;
}

}  // namespace infertrail::trail
