#include "capture/tls_files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "unit/capture/elf_files.h"
#include "unit/fake_proc.h"

namespace infertrail {
namespace {

using namespace elf_files;

std::shared_ptr<const Result<TlsSymbols>> read(TlsFiles& files, const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat file {};
  EXPECT_EQ(0, fstat(fd.get(), &file)) << path;
  return files.read(fd.get(), file);
}

TEST(TlsFilesTest, AFileIsReadOnceByAnyName) {
  TlsFiles files;
  const std::string library = file_of(reinterpret_cast<const void*>(&SSL_read));
  auto first = read(files, library);
  ASSERT_TRUE(first->ok());
  EXPECT_TRUE(first->value().is_tls());
  FakeProc folder;
  folder.link("libssl-0af3.so", library);   // trap 17: a name of a wheel
  EXPECT_EQ(first, read(files, folder.root() + "/libssl-0af3.so"));
  EXPECT_EQ(1u, files.parsed());
}

TEST(TlsFilesTest, WhatIsWrittenToIsReadAgain) {
  TlsFiles files;
  FakeProc folder;
  const std::string path = folder.root() + "/library";
  folder.write("library", "no ELF file");
  EXPECT_FALSE(read(files, path)->ok());
  EXPECT_FALSE(read(files, path)->ok());
  EXPECT_EQ(1u, files.parsed());   // an error, too
  folder.write("library", read_file(file_of(reinterpret_cast<const void*>(&SSL_read))).value());
  EXPECT_TRUE(read(files, path)->ok());
  EXPECT_EQ(2u, files.parsed());
}

TEST(TlsFilesTest, MemoryHasALimit) {
  TlsFiles files;
  FakeProc folder;
  const size_t many = TlsFiles::kMaxFiles + 50;
  for (size_t i = 0; i < many; i++) {
    const std::string name = "f" + std::to_string(i);
    folder.write(name, "x");
    EXPECT_FALSE(read(files, folder.root() + "/" + name)->ok());
  }
  EXPECT_EQ(TlsFiles::kMaxFiles, files.size());
  EXPECT_EQ(many, files.parsed());
  read(files, folder.root() + "/f" + std::to_string(many - 1));   // the last are kept
  EXPECT_EQ(many, files.parsed());
}

TEST(TlsFilesTest, Trap28_ShortcomingsAreSaidInWords) {
  TlsSymbols symbols;
  EXPECT_EQ("", unreadable_tls(symbols));
  symbols.stacks = {{TlsStack::kRustls, "carries source paths of rustls"}};
  EXPECT_EQ("rustls (carries source paths of rustls)", unreadable_tls(symbols));
  symbols.notes = {"ssl_read_internal is not used: it is inlined in SSL_read"};
  EXPECT_EQ("", missed_functions(symbols));
  symbols.stripped = true;
  EXPECT_EQ(symbols.notes[0], missed_functions(symbols));
}

}  // namespace
}  // namespace infertrail
