// Any bytes as a segment's frames: must end in an answer, within the memory that the file's own
// size and the format's limits allow. Built into the unit tests (a mutation loop) and, with clang,
// into a fuzzer.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "trail/segment.h"
#include "trail/torn.h"

extern "C" int segment_fuzz(const uint8_t* data, size_t size) {
  using namespace infertrail::trail;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)decode_header(bytes).ok();
  (void)TornNote::parse(bytes).has_value();
  std::string plain;
  for (size_t at = find_frame_magic(bytes, 0); at != std::string_view::npos;
       at = find_frame_magic(bytes, at + 1)) {
    auto header = decode_frame_header(bytes.substr(at));
    if (!header.ok() || header.value().type == FrameType::kCheckpoint) continue;
    std::string_view payload = bytes.substr(at + kFrameHeaderBytes);
    payload = payload.substr(0, header.value().stored_bytes);
    (void)check_frame(bytes.substr(at), payload).ok();
    // Also when the crc is wrong: who doctors a file makes it right.
    auto parts = decode_parts(header.value(), payload, plain);
    if (!parts.ok()) continue;
    for (std::string_view part : parts.value())
      if (part.data() < plain.data() || part.data() + part.size() > plain.data() + plain.size())
        __builtin_trap();
  }
  return 0;
}

#ifdef INFERTRAIL_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return segment_fuzz(data, size);
}
#endif
