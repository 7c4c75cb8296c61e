#include "capture/mini_debug_info.h"

#include <lzma.h>

#include <string_view>

#include "base/owned.h"

namespace infertrail {
namespace {

constexpr uint64_t kMaxPacked = 32u << 20, kMaxPlain = 128u << 20;
constexpr uint64_t kMaxMemory = 96u << 20;   // of the decoder; xz -9 takes 65 MiB
constexpr size_t kStep = 1u << 20;

}  // namespace

Result<std::string> mini_debug_info(const ElfImage& image) {
  const ElfSection* section = image.section(".gnu_debugdata");
  if (!section || section->size == 0) return Error{Code::kNotFound, "no .gnu_debugdata"};
  if (section->size > kMaxPacked) return Error{Code::kExhausted, ".gnu_debugdata is too large"};
  std::string packed(static_cast<size_t>(section->size), 0);
  packed.resize(image.source().read(section->offset, packed.data(), packed.size()));
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kMaxMemory, 0) != LZMA_OK)
    return Error{Code::kExhausted, "no memory for .gnu_debugdata"};
  const Owned<lzma_stream, lzma_end> owner(&stream);
  stream.next_in = reinterpret_cast<const uint8_t*>(packed.data());
  stream.avail_in = packed.size();
  std::string plain;
  for (;;) {
    const size_t had = plain.size();
    if (had >= kMaxPlain) return Error{Code::kExhausted, ".gnu_debugdata is too large"};
    plain.resize(had + kStep);
    stream.next_out = reinterpret_cast<uint8_t*>(plain.data() + had);
    stream.avail_out = kStep;
    const lzma_ret result = lzma_code(&stream, LZMA_FINISH);
    plain.resize(had + kStep - stream.avail_out);
    if (result == LZMA_STREAM_END) return plain;
    if (result == LZMA_MEMLIMIT_ERROR) return Error{Code::kExhausted, ".gnu_debugdata wants too much memory"};
    if (result != LZMA_OK || plain.size() == had) return Error{Code::kCorrupt, ".gnu_debugdata does not decompress"};
  }
}

}  // namespace infertrail
