// Any bytes as a checkpoint, a vkey and an entry bundle. What is accepted must be the canonical
// text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "trail/checkpoint.h"
#include "trail/tiles.h"

extern "C" int checkpoint_fuzz(const uint8_t* data, size_t size) {
  using namespace infertrail::trail;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  static const infertrail::Ed25519Key key =
      std::move(infertrail::Ed25519Key::from_seed(std::string(32, '\x07')).value());
  VerifierKey own{"log.test/a", key.public_key()};
  auto checkpoint = open_checkpoint(bytes, own);
  if (checkpoint.ok()) {
    // Nothing but what the key signed is accepted, whatever stands on other names' lines.
    auto note = sign_checkpoint(checkpoint.value(), key);
    std::string text = note.value().substr(0, note.value().find("\n\n") + 2);
    if (!bytes.starts_with(text)) __builtin_trap();
  }
  auto vkey = VerifierKey::parse(bytes);
  if (vkey.ok() && vkey.value().text() != bytes) __builtin_trap();
  auto entries = split_bundle(bytes);
  if (entries.ok()) {
    std::string again;
    for (std::string_view entry : entries.value()) append_bundle_entry(again, entry);
    if (again != bytes) __builtin_trap();
  }
  return 0;
}

#ifdef INFERTRAIL_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return checkpoint_fuzz(data, size);
}
#endif
