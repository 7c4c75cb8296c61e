#include "capture/tls_library.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <cstring>

#include "base/file.h"
#include "base/owned.h"
#include "unit/capture/elf_files.h"
#include "unit/fake_proc.h"

namespace infertrail {
namespace {

using namespace elf_files;

std::string bytes_at(const std::string& path, uint64_t offset, size_t n) {
  std::string out(n, 0);
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(static_cast<ssize_t>(n), pread(fd.get(), out.data(), n, static_cast<off_t>(offset)));
  return out;
}

TEST(TlsLibraryTest, LibsslAndWhereItsFunctionsAre) {
  const auto address = reinterpret_cast<const void*>(&SSL_read);
  const std::string path = file_of(address);
  ASSERT_NE("", path);
  auto symbols = symbols_of(path);
  ASSERT_TRUE(symbols.ok()) << symbols.error().message;
  EXPECT_TRUE(symbols.value().is_tls());
  EXPECT_FALSE(symbols.value().is_bio());
  for (const char* name : {"SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_free", "SSL_do_handshake"})
    EXPECT_TRUE(symbols.value().has(name)) << name;
  // What stands at the offset in the file is what the loader mapped at the address.
  // Where it differs, a daemon that runs on this machine has put its probe.
  const std::string_view mapped(static_cast<const char*>(address), 32);
  const std::string stored = bytes_at(path, symbols.value().offsets["SSL_read"], 32);
  for (size_t i = 0; i < mapped.size(); i++)
    EXPECT_TRUE(mapped[i] == stored[i] || mapped[i] == '\xcc') << i;
}

TEST(TlsLibraryTest, LibcryptoHasTheBioAndNoTls) {
  auto symbols = symbols_of(file_of(reinterpret_cast<const void*>(&BIO_write)));
  ASSERT_TRUE(symbols.ok());
  EXPECT_TRUE(symbols.value().is_bio());
  EXPECT_FALSE(symbols.value().is_tls());
}

TEST(TlsLibraryTest, ImportsAreNotDefinitions) {
  auto symbols = symbols_of("/proc/self/exe");   // calls SSL_read, does not contain it
  ASSERT_TRUE(symbols.ok());
  EXPECT_TRUE(symbols.value().offsets.empty());
}

// As node's own builds do: OpenSSL inside the executable, its symbols exported.
TEST(TlsLibraryTest, AnExecutableMayCarryItsOwnCopy) {
  auto symbols = symbols_of(IT_STATIC_PEER);
  ASSERT_TRUE(symbols.ok()) << symbols.error().message;
  EXPECT_TRUE(symbols.value().is_tls() && symbols.value().is_bio());
}

// The internal functions, of the OpenSSL that this machine has: what stands there is not known
// beforehand; a static program that is not stripped names them, and so does nm.
TEST(TlsLibraryTest, Trap10_InternalFunctionsByTwoWaysNotByVersion) {
  const std::string ssl = file_of(reinterpret_cast<const void*>(&SSL_read));
  const std::string crypto = file_of(reinterpret_cast<const void*>(&BIO_write));
  auto tls = symbols_of(ssl), bio = symbols_of(crypto);
  ASSERT_TRUE(tls.ok() && bio.ok());
  EXPECT_TRUE(tls.value().has("ssl_read_internal") && tls.value().has("ssl_write_internal"))
      << ::testing::PrintToString(tls.value().notes);
  EXPECT_TRUE(bio.value().has("bio_write_intern")) << ::testing::PrintToString(bio.value().notes);
  EXPECT_FALSE(tls.value().write_internal_has_flags);   // Debian 12: OpenSSL 3.0
  auto program = symbols_of(IT_STATIC_PEER);
  ASSERT_TRUE(program.ok());
  Fd fd(open(IT_STATIC_PEER, O_RDONLY | O_CLOEXEC));
  const FileSource source(fd.get());
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok());
  auto truth = nm(IT_STATIC_PEER);
  for (const char* name : {"ssl_read_internal", "ssl_write_internal", "bio_write_intern"})
    EXPECT_EQ(image.value().offset_of(truth[name].address), program.value().offsets[name]) << name;
}

// OpenSSL 3.6 with CET: other prologues, a fifth argument, SSL_write_ex as a jump (trap 45).
TEST(TlsLibraryTest, Trap45_OpenSsl36HasFlags) {
  const std::string root = std::string(IT_BUILD_DIR) + "/llama/usr/lib/x86_64-linux-gnu";
  if (access((root + "/libssl.so.3").c_str(), R_OK) != 0)
    GTEST_SKIP() << root << " is missing: made by scripts/llama_root.sh";
  auto tls = symbols_of(root + "/libssl.so.3"), bio = symbols_of(root + "/libcrypto.so.3");
  ASSERT_TRUE(tls.ok() && bio.ok());
  EXPECT_TRUE(tls.value().has("SSL_write_ex2"));
  EXPECT_TRUE(tls.value().has("ssl_read_internal")) << ::testing::PrintToString(tls.value().notes);
  EXPECT_TRUE(tls.value().has("ssl_write_internal")) << ::testing::PrintToString(tls.value().notes);
  EXPECT_TRUE(tls.value().write_internal_has_flags);
  EXPECT_TRUE(bio.value().has("bio_write_intern")) << ::testing::PrintToString(bio.value().notes);
}

// Node has the internal functions as symbols, and their code inside the public ones: nothing calls them.
TEST(TlsLibraryTest, InlinedInternalFunctionsAreNotReported) {
  const std::string node = "/usr/bin/node";
  auto exports = access(node.c_str(), R_OK) == 0 ? symbols_of(node) : Result<TlsSymbols>(Error{});
  if (!exports.ok() || !exports.value().is_tls()) GTEST_SKIP() << "no node with OpenSSL inside on this machine";
  EXPECT_TRUE(exports.value().is_bio());
  for (const char* name : {"ssl_read_internal", "ssl_write_internal", "bio_write_intern"})
    EXPECT_FALSE(exports.value().has(name)) << name;
  EXPECT_FALSE(exports.value().notes.empty());
}

TEST(TlsLibraryTest, HostileFilesAreErrorsOrEmpty) {
  FakeProc folder;
  const std::string library = file_of(reinterpret_cast<const void*>(&SSL_read));
  const std::string whole = read_file(library).value();
  folder.write("text", "#!/bin/sh\necho SSL_read\n");
  folder.write("empty", "");
  folder.write("garbage", "\x7f" "ELF" + std::string(4096, '\xff'));
  for (const char* name : {"text", "empty"}) {
    auto symbols = symbols_of(folder.root() + "/" + name);
    ASSERT_FALSE(symbols.ok()) << name;
    EXPECT_EQ(Code::kInvalid, symbols.error().code);
  }
  auto garbage = symbols_of(folder.root() + "/garbage");
  EXPECT_TRUE(!garbage.ok() || garbage.value().offsets.empty());
  // Cut anywhere: never a crash, never a symbol that the whole file places elsewhere.
  const TlsSymbols right = symbols_of(library).value();
  for (size_t n : {4ul, 16ul, 63ul, 64ul, 65ul, 1000ul, whole.size() / 3, whole.size() / 2, whole.size() - 1}) {
    folder.write("cut", whole.substr(0, n));
    auto cut = symbols_of(folder.root() + "/cut");
    if (!cut.ok()) continue;
    for (auto& [name, offset] : cut.value().offsets) EXPECT_EQ(right.offsets.at(name), offset) << n;
  }
  // Sizes and offsets in the headers that lie.
  for (size_t at = 0; at < 64; at++) {
    std::string bad = whole;
    for (size_t i = 0; i < 8 && at + i < 64; i++) bad[at + i] = '\xff';
    folder.write("bad", bad);
    auto read = symbols_of(folder.root() + "/bad");
    if (!read.ok()) continue;
    for (auto& [name, offset] : read.value().offsets) EXPECT_LT(offset, whole.size()) << at;
  }
}

}  // namespace
}  // namespace infertrail
