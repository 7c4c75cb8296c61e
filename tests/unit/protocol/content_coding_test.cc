#include "protocol/content_coding.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <string>

namespace infertrail {
namespace {

std::string deflated(const std::string& text, int window) {
  z_stream stream{};
  EXPECT_EQ(Z_OK, deflateInit2(&stream, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY));
  std::string out(text.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(Z_STREAM_END, deflate(&stream, Z_FINISH));
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}
std::string gzip(const std::string& text) {
  return deflated(text, 31);
}
std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string text() {
  std::string all;
  for (int i = 0; i < 20'000; i++) all += std::to_string(i * 7919 % 10007) + " ";
  return all;
}

TEST(ContentCoding, UndoesEachCodingAndTheirNamesInAnyCase) {
  for (const auto& [name, raw] : {std::pair{"GZip", gzip(text())},
                                  {"x-gzip", gzip(text())},
                                  {"deflate", deflated(text(), 15)},
                                  {"deflate", deflated(text(), -15)},
                                  {"zstd", zstd(text())},
                                  {"identity, zstd , gzip", gzip(zstd(text()))}}) {
    Decoded decoded = decode_content(name, raw, 1 << 20);
    EXPECT_TRUE(decoded.decoded) << name;
    EXPECT_EQ("", decoded.note) << name;
    EXPECT_TRUE(decoded.bytes == text()) << name;
  }
}

TEST(ContentCoding, NothingToUndoLeavesTheBytes) {
  for (const char* name : {"", "identity", " , "})
    EXPECT_FALSE(decode_content(name, "abc", 10).decoded);
}

TEST(ContentCoding, ACutStreamGivesItsBeginningAndSaysSo) {
  for (const auto& [name, raw] : {std::pair{"gzip", gzip(text())}, {"zstd", zstd(text())}}) {
    Decoded decoded =
        decode_content(name, std::string_view(raw).substr(0, raw.size() - 5), 1 << 20);
    EXPECT_TRUE(decoded.damaged);
    EXPECT_EQ(std::string(name) + ": ends early", decoded.note);
    EXPECT_EQ(0u, text().find(decoded.bytes));
  }
}

TEST(ContentCoding, ACorruptStreamIsSaidToBe) {
  std::string raw = gzip(text());
  raw[raw.size() / 2] = static_cast<char>(raw[raw.size() / 2] ^ 0x55);
  Decoded decoded = decode_content("gzip", raw, 1 << 20);
  EXPECT_TRUE(decoded.damaged);
  EXPECT_NE("", decoded.note);
  EXPECT_EQ("gzip: corrupt", decode_content("gzip", "no gzip", 100).note);
}

TEST(ContentCoding, ABombStopsAtTheLimit) {
  for (const auto& [name, raw] : {std::pair{"gzip", gzip(std::string(1 << 20, 'a'))},
                                  {"zstd", zstd(std::string(1 << 20, 'a'))}}) {
    Decoded decoded = decode_content(name, raw, 1000);
    EXPECT_TRUE(decoded.limited);
    EXPECT_EQ(1000u, decoded.bytes.size());
    EXPECT_EQ(std::string(name) + ": longer than the limit when decoded", decoded.note);
  }
}

TEST(ContentCoding, WhatFitsTheLimitExactlyIsWhole) {
  Decoded decoded = decode_content("gzip", gzip("0123456789"), 10);
  EXPECT_FALSE(decoded.limited);
  EXPECT_EQ("0123456789", decoded.bytes);
}

TEST(ContentCoding, UnknownAndTooManyCodingsAreNotDecoded) {
  EXPECT_EQ("unknown content coding: not decoded", decode_content("lzma", "abc", 10).note);
  EXPECT_EQ("more than 4 content codings: not decoded",
            decode_content("gzip,gzip,gzip,gzip,gzip", "abc", 10).note);
}

}  // namespace
}  // namespace infertrail
