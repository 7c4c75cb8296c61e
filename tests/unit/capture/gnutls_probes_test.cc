#include "capture/gnutls_probes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "base/owned.h"
#include "capture/push_calls.h"
#include "infertrail/event.h"
#include "unit/capture/elf_files.h"

namespace infertrail {
namespace {

using abi::u64;   // of the macros in event.h

constexpr const char* kLibrary = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
#define NEED_LIBRARY() \
  if (access(kLibrary, R_OK) != 0) GTEST_SKIP() << kLibrary << " is not installed"

std::map<uint32_t, size_t> functions(const std::vector<UprobePlace>& places) {
  std::map<uint32_t, size_t> out;
  for (const UprobePlace& each : places) out[IT_COOKIE_FUNCTION(each.cookie)]++;
  return out;
}

TEST(GnuTlsProbesTest, TheLibraryOfThisSystem) {
  NEED_LIBRARY();
  Fd fd(open(kLibrary, O_RDONLY | O_CLOEXEC));
  auto found = find_gnutls_places(FileSource(fd.get()), 7);
  ASSERT_TRUE(found.ok()) << found.error().message;
  auto enters = functions(found.value().enters), returns = functions(found.value().returns);
  // gnutls_record_send only jumps to gnutls_record_send2.
  EXPECT_EQ(1u, enters[IT_CALL_WRITE]);
  EXPECT_EQ(3u, enters[IT_CALL_READ]);
  for (uint32_t each : {IT_CALL_HANDSHAKE, IT_CALL_UNCORK, IT_CALL_SENDFILE, IT_CALL_READ_PACKET, IT_CALL_GNUTLS_INIT,
                        IT_CALL_GNUTLS_PACKET_GET}) {
    EXPECT_EQ(1u, enters[each]) << each;
    EXPECT_EQ(1u, returns[each]) << each;
  }
  EXPECT_EQ(1u, enters[IT_CALL_FREE]);
  for (const UprobePlace& each : found.value().enters) EXPECT_EQ(7u, IT_COOKIE_LIBRARY(each.cookie));
  // One push function of bytes, two calls of the one of vectors (datagrams have their own).
  EXPECT_EQ(1u, enters[IT_CALL_GNUTLS_PUSH]);
  EXPECT_EQ(2u, enters[IT_CALL_GNUTLS_PUSH_VECTOR]);
  EXPECT_EQ(0u, enters[IT_CALL_GNUTLS_SET_FD] + enters[IT_CALL_GNUTLS_SET_PUSH]);
  EXPECT_EQ("GnuTLS, by ciphertext", found.value().how);
}

TEST(GnuTlsProbesTest, WithoutThePlaceOfTheCiphertextTheDescriptor) {
  NEED_LIBRARY();
  Fd fd(open(kLibrary, O_RDONLY | O_CLOEXEC));
  auto found = find_gnutls_places(FileSource(fd.get()), 1, GnuTlsBinding::kDescriptor);
  ASSERT_TRUE(found.ok());
  auto enters = functions(found.value().enters);
  EXPECT_EQ(0u, enters[IT_CALL_GNUTLS_PUSH] + enters[IT_CALL_GNUTLS_PUSH_VECTOR]);
  EXPECT_EQ(1u, enters[IT_CALL_GNUTLS_SET_FD]);
  EXPECT_EQ(2u, enters[IT_CALL_GNUTLS_SET_FD2]);
  EXPECT_EQ(2u, enters[IT_CALL_GNUTLS_SET_PUSH]);
  EXPECT_EQ("GnuTLS, by descriptor", found.value().how);
}

TEST(GnuTlsProbesTest, WhatIsNoGnuTlsIsNotFound) {
  Fd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  auto found = find_gnutls_places(FileSource(self.get()), 1);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(Code::kNotFound, found.error().code);
  auto no_elf = find_gnutls_places(MemorySource("no program"), 1);
  ASSERT_FALSE(no_elf.ok());
  EXPECT_EQ(Code::kInvalid, no_elf.error().code);
}

// Two setters that are not of the known form: nothing is guessed.
TEST(GnuTlsProbesTest, OtherFunctionsHaveNoPushCalls) {
  NEED_LIBRARY();
  Fd fd(open(kLibrary, O_RDONLY | O_CLOEXEC));
  const FileSource source(fd.get());
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok());
  for (const ElfSegment& segment : image.value().segments()) {
    if (!segment.executable) continue;
    EXPECT_TRUE(push_calls(image.value(), segment.address, segment.address).empty());
    EXPECT_TRUE(push_calls(image.value(), segment.address + 0x10000, segment.address + 0x20000).empty());
  }
  EXPECT_TRUE(push_calls(image.value(), 0, UINT64_MAX).empty());
  EXPECT_FALSE(is_only_a_jump(image.value(), UINT64_MAX));
}

}  // namespace
}  // namespace infertrail
