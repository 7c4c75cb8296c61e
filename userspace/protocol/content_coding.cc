#include "protocol/content_coding.h"

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/owned.h"
#include "protocol/parser.h"

namespace infertrail {
namespace {

constexpr size_t kStep = 64u << 10;
// Codings listed in one header; more is an attack, not a use.
constexpr size_t kMaxCodings = 4;

void too_long(Decoded* out, const char* name) {
  out->limited = true;
  out->note = std::string(name) + ": longer than the limit when decoded";
}

void broken(Decoded* out, const char* name, const char* how) {
  out->damaged = true;
  out->note = std::string(name) + ": " + how;
}

// Appends at most what the limit still allows; false when that cut something off.
bool append(Decoded* out, const uint8_t* bytes, size_t size, size_t limit) {
  size_t room = limit - out->bytes.size();
  out->bytes.append(reinterpret_cast<const char*>(bytes), std::min(room, size));
  return size <= room;
}

// gzip may be several members one after the other. `window` selects the wrapper, as zlib has it.
void inflate_all(const char* name, int window, std::string_view raw, size_t limit, Decoded* out) {
  z_stream stream{};
  if (inflateInit2(&stream, window) != Z_OK) return broken(out, name, "zlib has no memory");
  Owned<z_stream, inflateEnd> cleanup(&stream);
  std::vector<uint8_t> buffer(kStep);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(raw.data()));
  stream.avail_in = static_cast<uInt>(raw.size());
  while (true) {
    stream.next_out = buffer.data();
    stream.avail_out = static_cast<uInt>(buffer.size());
    int state = inflate(&stream, Z_NO_FLUSH);
    size_t produced = buffer.size() - stream.avail_out;
    if (!append(out, buffer.data(), produced, limit)) return too_long(out, name);
    if (state == Z_STREAM_END) {
      if (stream.avail_in == 0) return;
      if (window < 16 || inflateReset(&stream) != Z_OK)
        return broken(out, name, "bytes behind the end");
    } else if (state != Z_OK && state != Z_BUF_ERROR) {
      return broken(out, name, "corrupt");
    } else if (produced == 0 && stream.avail_in == 0) {
      return broken(out, name, "ends early");
    } else if (state == Z_BUF_ERROR && produced == 0) {
      return broken(out, name, "corrupt");
    }
  }
}

void gunzip(std::string_view raw, size_t limit, Decoded* out) {
  inflate_all("gzip", 15 + 16, raw, limit, out);
}

// "deflate" is the zlib format by RFC 9110, but raw deflate is sent, too.
void undeflate(std::string_view raw, size_t limit, Decoded* out) {
  inflate_all("deflate", 15, raw, limit, out);
  if (!out->damaged || !out->bytes.empty()) return;
  Decoded bare;
  inflate_all("deflate", -15, raw, limit, &bare);
  if (!bare.damaged || !bare.bytes.empty()) *out = std::move(bare);
}

void unzstd(std::string_view raw, size_t limit, Decoded* out) {
  Owned<ZSTD_DCtx, ZSTD_freeDCtx> context(ZSTD_createDCtx());
  if (!context) return broken(out, "zstd", "no memory");
  std::vector<uint8_t> buffer(kStep);
  ZSTD_inBuffer in{raw.data(), raw.size(), 0};
  size_t state = 1;
  while (true) {
    ZSTD_outBuffer piece{buffer.data(), buffer.size(), 0};
    state = ZSTD_decompressStream(context.get(), &piece, &in);
    if (ZSTD_isError(state)) return broken(out, "zstd", "corrupt");
    if (!append(out, buffer.data(), piece.pos, limit)) return too_long(out, "zstd");
    if (in.pos == in.size && piece.pos < piece.size) break;
  }
  if (state != 0) broken(out, "zstd", "ends early");
}

void unbrotli(std::string_view raw, size_t limit, Decoded* out) {
  Owned<BrotliDecoderState, BrotliDecoderDestroyInstance> context(
      BrotliDecoderCreateInstance(nullptr, nullptr, nullptr));
  if (!context) return broken(out, "br", "no memory");
  const uint8_t* next = reinterpret_cast<const uint8_t*>(raw.data());
  size_t left = raw.size();
  std::vector<uint8_t> buffer(kStep);
  while (true) {
    uint8_t* to = buffer.data();
    size_t room = buffer.size();
    auto state = BrotliDecoderDecompressStream(context.get(), &left, &next, &room, &to, nullptr);
    if (!append(out, buffer.data(), buffer.size() - room, limit)) return too_long(out, "br");
    if (state == BROTLI_DECODER_RESULT_SUCCESS) {
      if (left != 0) broken(out, "br", "bytes behind the end");
      return;
    }
    if (state == BROTLI_DECODER_RESULT_ERROR) return broken(out, "br", "corrupt");
    if (state == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT) return broken(out, "br", "ends early");
  }
}

struct Coding {
  const char* name;
  void (*decode)(std::string_view raw, size_t limit, Decoded* out);
};

constexpr std::array<Coding, 6> kCodings = {{
    {"gzip", gunzip},
    {"x-gzip", gunzip},
    {"deflate", undeflate},
    {"zstd", unzstd},
    {"br", unbrotli},
    {"identity", nullptr},
}};

std::vector<std::string_view> split(std::string_view list) {
  std::vector<std::string_view> names;
  while (!list.empty()) {
    size_t comma = std::min(list.find(','), list.size());
    std::string_view name = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    while (!name.empty() && (name.front() == ' ' || name.front() == '\t')) name.remove_prefix(1);
    while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.remove_suffix(1);
    if (!name.empty()) names.push_back(name);
  }
  return names;
}

}  // namespace

Decoded decode_content(std::string_view encoding, std::string_view raw, size_t limit) {
  Decoded result;
  std::vector<std::string_view> names = split(encoding);
  if (names.size() > kMaxCodings) {
    result.note = "more than 4 content codings: not decoded";
    return result;
  }
  if (raw.empty()) return result;
  for (size_t i = names.size(); i-- > 0;) {  // the last one was applied last
    auto row = std::find_if(kCodings.begin(), kCodings.end(),
                            [&](const Coding& coding) { return same_name(coding.name, names[i]); });
    if (row == kCodings.end()) {
      result.note = "unknown content coding: not decoded";
      return result;
    }
    if (row->decode == nullptr) continue;
    Decoded step;
    row->decode(result.decoded ? std::string_view(result.bytes) : raw, limit, &step);
    step.decoded = true;
    step.damaged |= result.damaged;
    step.limited |= result.limited;
    if (step.note.empty()) step.note = result.note;
    result = std::move(step);
  }
  return result;
}

}  // namespace infertrail
