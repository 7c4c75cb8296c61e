#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <elf.h>
#include <random>

#include "base/file.h"
#include "capture/function_bounds.h"
#include "unit/capture/elf_files.h"
#include "unit/fake_proc.h"

extern "C" int elf_fuzz(const uint8_t* data, size_t size);

namespace infertrail {
namespace {

using namespace elf_files;

// Every function that has an unwind entry: most; hand-written assembler has several or none.
void check_bounds(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid()) << path;
  const FileSource source(fd.get());
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok()) << image.error().message;
  const FunctionBounds bounds(image.value());
  size_t right = 0, wrong = 0, seen = 0;
  for (auto& [name, truth] : nm(path)) {
    if (!name.starts_with("SSL_") && !name.starts_with("ssl_") && !name.starts_with("BIO_")) continue;
    seen++;
    auto range = bounds.at(truth.address + truth.size / 2);
    const bool same = range && range->begin == truth.address && range->end == truth.address + truth.size;
    (same ? right : wrong)++;
    if (!same) ADD_FAILURE() << path << ": " << name;
  }
  EXPECT_GT(right, 300u) << seen;
  EXPECT_EQ(0u, wrong);
}

TEST(FunctionBoundsTest, EqualTheSymbolsOfAFileWithAnIndex) { check_bounds(IT_STATIC_PEER); }
// A fully static program has .eh_frame and no .eh_frame_hdr.
TEST(FunctionBoundsTest, EqualTheSymbolsOfAFileWithoutAnIndex) { check_bounds(IT_OPENSSL "static"); }

TEST(ElfImageTest, AddressesAreWhereTheLoaderPutsThem) {
  const std::string path = file_of(reinterpret_cast<const void*>(&BIO_write));
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const FileSource source(fd.get());
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok());
  const uint64_t address = nm(path, "-D")["BIO_write"].address;
  ASSERT_NE(0u, address);
  EXPECT_TRUE(image.value().executable(address));
  const auto offset = image.value().offset_of(address);
  ASSERT_TRUE(offset);
  char bytes[16];
  ASSERT_EQ(sizeof(bytes), source.read(*offset, bytes, sizeof(bytes)));
  EXPECT_EQ(std::string(bytes, sizeof(bytes)), image.value().read(address, sizeof(bytes)));
  EXPECT_FALSE(image.value().offset_of(UINT64_MAX));
  EXPECT_EQ("", image.value().read(UINT64_MAX - 2, 100));
  EXPECT_FALSE(image.value().get<uint64_t>(UINT64_MAX - 2));
}

// A target can map any file: here 64 GiB of hole that says it is all code and all text, with the names
// that make us search it.
TEST(ElfImageTest, AHugeCraftedFileCostsLittle) {
  FakeProc folder;
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_X86_64;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 2;
  Elf64_Phdr segments[2]{};
  for (Elf64_Phdr& each : segments) {
    each.p_type = PT_LOAD;
    each.p_filesz = each.p_memsz = 64ull << 30;
  }
  segments[0].p_flags = PF_R;
  segments[1].p_flags = PF_R | PF_X;
  segments[1].p_vaddr = 1ull << 40;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(reinterpret_cast<const char*>(segments), sizeof(segments));
  for (const char* name : {"ssl_read_internal", "ssl_write_internal", "SSL_read", "SSL_write"}) bytes.append(name).push_back('\0');
  folder.write("huge", bytes);
  const std::string path = folder.root() + "/huge";
  ASSERT_EQ(0, truncate(path.c_str(), 64ll << 30));
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  const auto start = std::chrono::steady_clock::now();
  auto symbols = symbols_of(path);
  const auto took = std::chrono::steady_clock::now() - start;
  getrusage(RUSAGE_SELF, &after);
  ASSERT_TRUE(symbols.ok());
  EXPECT_TRUE(symbols.value().offsets.empty());
  EXPECT_FALSE(symbols.value().notes.empty());
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 64 * 1024);   // KiB
  EXPECT_LT(took, std::chrono::seconds(30));   // some tenths of a second; a sanitizer takes more
}

TEST(ElfFuzzSmoke, MutatedLibrariesNeverBreakTheReader) {
  const std::string good = read_file(file_of(reinterpret_cast<const void*>(&SSL_read))).value();
  Elf64_Ehdr header;
  std::memcpy(&header, good.data(), sizeof(header));
  const auto frames = [&]() -> uint64_t {
    for (size_t i = 0; i < header.e_phnum; i++) {
      Elf64_Phdr segment;
      std::memcpy(&segment, good.data() + header.e_phoff + i * sizeof(segment), sizeof(segment));
      if (segment.p_type == PT_GNU_EH_FRAME) return segment.p_offset;
    }
    return 0;
  }();
  ASSERT_NE(0u, frames);
  std::mt19937_64 random(20261121);
  const std::pair<uint64_t, uint64_t> regions[] = {   // where a lie does most
      {0, 64},
      {header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr)},
      {header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr)},
      {frames, 24},
      {frames, good.size() - frames < 100'000 ? good.size() - frames : 100'000},
      {0, good.size()}};
  for (int round = 0; round < 700; round++) {
    std::string bytes = good;
    for (uint64_t edits = 1 + random() % 8; edits > 0; edits--) {
      auto [from, length] = regions[random() % std::size(regions)];
      const size_t at = from + random() % length;
      const uint64_t values[] = {random(), 0, UINT64_MAX, bytes.size(), bytes.size() - 1, 1ull << 63};
      const size_t width = size_t{1} << random() % 4;
      const uint64_t value = values[random() % std::size(values)];
      if (at + width <= bytes.size()) std::memcpy(bytes.data() + at, &value, width);
    }
    if (random() % 16 == 0) bytes.resize(random() % bytes.size());
    bytes.push_back(static_cast<char>(random()));
    ASSERT_EQ(0, elf_fuzz(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
  }
}

}  // namespace
}  // namespace infertrail
