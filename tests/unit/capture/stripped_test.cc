// OpenSSL inside programs without symbols: found by its error messages, exactly where the twin with symbols
// has them.
#include <gtest/gtest.h>
#include <unistd.h>

#include "unit/capture/elf_files.h"
#include "unit/fake_proc.h"

namespace infertrail {
namespace {

using namespace elf_files;

constexpr const char* kFound[] = {"SSL_read",    "SSL_write",        "ssl_read_internal", "ssl_write_internal",
                                  "BIO_write",   "BIO_write_ex",     "bio_write_intern",  "SSL_new",
                                  "SSL_free",    "SSL_do_handshake", "SSL_shutdown",      "SSL_clear"};

// All names, none elsewhere than the truth says.
void expect_truth(const TlsSymbols& found, const ElfImage& image, std::map<std::string, Truth> truth) {
  for (auto& [name, offset] : found.offsets) {
    ASSERT_TRUE(truth.contains(name)) << name;
    EXPECT_EQ(image.offset_of(truth[name].address), offset) << name;
  }
}

class Stripped : public ::testing::TestWithParam<const char*> {};

TEST_P(Stripped, Trap17_StaticOpenSslWithoutSymbols) {
  const std::string whole = std::string(IT_OPENSSL) + GetParam(), stripped = whole + "_stripped";
  ASSERT_TRUE(nm(stripped).empty());
  Fd fd(open(stripped.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  const FileSource source(fd.get());
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok());
  auto found = read_tls_symbols(source);
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found.value().stripped && found.value().is_tls() && found.value().is_bio());
  EXPECT_FALSE(found.value().write_internal_has_flags);   // Debian 12's library is 3.0
  for (const char* name : kFound) EXPECT_TRUE(found.value().has(name)) << name;
  EXPECT_TRUE(found.value().notes.empty()) << ::testing::PrintToString(found.value().notes);
  expect_truth(found.value(), image.value(), nm(whole));
  ASSERT_EQ(1u, found.value().stacks.size());
  EXPECT_EQ(TlsStack::kOpenSsl3, found.value().stacks[0].stack);
}
INSTANTIATE_TEST_SUITE_P(Kinds, Stripped, ::testing::Values("pie", "no-pie", "static", "static-pie"),
                         [](const auto& kind) {
                           std::string name = kind.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(StrippedTest, Trap28_WithoutSectionsTheUnwindIndexIsEnough) {
  const std::string whole = std::string(IT_OPENSSL) + "pie", stripped = whole + "_stripped";
  Fd fd(open(stripped.c_str(), O_RDONLY | O_CLOEXEC));
  const FileSource file(fd.get());
  const WithoutSections source(file);
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok());
  EXPECT_TRUE(image.value().sections().empty());
  auto found = read_tls_symbols(source);
  ASSERT_TRUE(found.ok());
  for (const char* name : kFound) EXPECT_TRUE(found.value().has(name)) << name;
  expect_truth(found.value(), image.value(), nm(whole));
}

// With neither sections nor an index there are no bounds of functions: said, not silent.
TEST(StrippedTest, Trap28_WhatCannotBeFoundIsSaid) {
  const std::string stripped = std::string(IT_OPENSSL) + "static_stripped";
  Fd fd(open(stripped.c_str(), O_RDONLY | O_CLOEXEC));
  const FileSource file(fd.get());
  auto found = read_tls_symbols(WithoutSections(file));
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found.value().offsets.empty());
  ASSERT_EQ(1u, found.value().stacks.size());
  EXPECT_EQ(TlsStack::kOpenSsl3, found.value().stacks[0].stack);
  ASSERT_EQ(1u, found.value().notes.size());
  EXPECT_NE(std::string::npos, found.value().notes[0].find("without unwind tables"));
}

// Node, its symbols put aside: 100 MB, not position independent, internal functions inlined.
TEST(StrippedTest, NodeWithoutItsSymbols) {
  const std::string node = "/usr/bin/node";
  auto truth = nm(node, "-D");
  if (!truth.contains("SSL_read")) GTEST_SKIP() << "no node with OpenSSL inside at " << node;
  Fd fd(open(node.c_str(), O_RDONLY | O_CLOEXEC));
  const FileSource file(fd.get());
  const WithoutSections source(file);
  auto image = ElfImage::open(source);
  auto found = read_tls_symbols(source);
  ASSERT_TRUE(image.ok() && found.ok());
  for (const char* name : {"SSL_read", "SSL_write", "BIO_write"}) EXPECT_TRUE(found.value().has(name)) << name;
  EXPECT_FALSE(found.value().has("ssl_read_internal"));
  EXPECT_FALSE(found.value().notes.empty());
  // The compiler has split SSL_free: what is found is the part behind the test for null.
  if (auto whole = nm(node); whole.contains("SSL_free.part.0")) truth["SSL_free"] = whole["SSL_free.part.0"];
  expect_truth(found.value(), image.value(), truth);
}

// The newest OpenSSL that is at hand, its symbols put aside: CET, a constructor behind SSL_new, five arguments.
TEST(StrippedTest, Trap45_OpenSsl36WithoutItsSymbols) {
  const std::string library = std::string(IT_BUILD_DIR) + "/llama/usr/lib/x86_64-linux-gnu/libssl.so.3";
  Fd fd(open(library.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) GTEST_SKIP() << library << " is missing: made by scripts/llama_root.sh";
  const FileSource file(fd.get());
  const WithoutSections source(file);
  auto image = ElfImage::open(source);
  auto found = read_tls_symbols(source), whole = read_tls_symbols(file);
  ASSERT_TRUE(image.ok() && found.ok() && whole.ok());
  EXPECT_TRUE(found.value().stripped && found.value().write_internal_has_flags);
  for (const char* name : {"SSL_read", "SSL_write", "ssl_read_internal", "ssl_write_internal", "SSL_new", "SSL_free",
                           "SSL_do_handshake", "SSL_shutdown", "SSL_clear"})
    EXPECT_EQ(whole.value().offsets[name], found.value().offsets[name]) << name;
}

// Fedora's way: the symbol table inside the stripped file, compressed.
TEST(StrippedTest, MiniDebugInfoGivesTheSymbols) {
  if (std::system("command -v xz objcopy >/dev/null") != 0) GTEST_SKIP() << "no xz or objcopy on this machine";
  const std::string whole = std::string(IT_OPENSSL) + "no-pie";
  FakeProc folder;
  const std::string out = folder.root() + "/program";
  const std::string command = "cd " + folder.root() + " && objcopy --only-keep-debug -R .comment '" + whole +
                              "' mini && xz mini && objcopy --add-section .gnu_debugdata=mini.xz '" + whole +
                              "_stripped' program 2>/dev/null";
  ASSERT_EQ(0, std::system(command.c_str()));
  auto found = symbols_of(out);
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found.value().stripped);
  for (const char* name : kFound) EXPECT_TRUE(found.value().has(name)) << name;
  EXPECT_TRUE(found.value().has("SSL_read_ex"));   // has no string: only symbols tell
  EXPECT_EQ(symbols_of(whole).value().offsets, found.value().offsets);
  // A compressed table that is broken is said, and the strings still serve.
  ASSERT_EQ(0, std::system(("cd " + folder.root() + " && head -c 5000 mini.xz > cut && objcopy --add-section "
                            ".gnu_debugdata=cut '" + whole + "_stripped' broken").c_str()));
  auto broken = symbols_of(folder.root() + "/broken");
  ASSERT_TRUE(broken.ok());
  EXPECT_TRUE(broken.value().stripped && broken.value().has("SSL_read"));
  ASSERT_FALSE(broken.value().notes.empty());
  EXPECT_NE(std::string::npos, broken.value().notes[0].find("does not decompress"));
}

}  // namespace
}  // namespace infertrail
