// Go programs as the compiler makes them (tests/programs/go_peer.go), and damaged ones.
#include "capture/go_probes.h"

#include <elf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>

#include "base/file.h"
#include "capture/go_binary.h"
#include "capture/go_code.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using abi::u64;

std::string program(const std::string& name) { return std::string(IT_BUILD_DIR) + "/bin/" + name; }

std::string contents(const std::string& path) {
  auto text = read_file(path);
  return text.ok() ? text.value() : "";
}

// Programs of other versions: INFERTRAIL_GO_PROGRAMS=PATH:PATH… (see docs/adding.md).
std::vector<std::string> programs() {
  std::vector<std::string> out = {program("go_peer"), program("go_peer_stripped"), program("go_peer_pie"),
                                  program("go_peer_arm64")};
  std::istringstream more(std::getenv("INFERTRAIL_GO_PROGRAMS") ? std::getenv("INFERTRAIL_GO_PROGRAMS") : "");
  for (std::string path; std::getline(more, path, ':');) out.push_back(path);
  return out;
}

#define NEED_GO() \
  if (access(program("go_peer").c_str(), R_OK) != 0) GTEST_SKIP() << "built without go"

TEST(GoProbes, EveryFunctionAndEveryRetOfEveryBuild) {
  NEED_GO();
  for (const std::string& path : programs()) {
    SCOPED_TRACE(path);
    const std::string bytes = contents(path);
    ASSERT_FALSE(bytes.empty());
    auto places = find_go_places(MemorySource(bytes));
    ASSERT_TRUE(places.ok()) << places.error().message;
    EXPECT_TRUE(places.value().version.starts_with("go1.")) << places.value().version;
    std::set<uint32_t> functions;
    for (const UprobePlace& place : places.value().enters) {
      functions.insert(IT_COOKIE_FUNCTION(place.cookie));
      EXPECT_NE(0, IT_GO_DISTANCE(place.cookie)) << "net.(*TCPConn).Read was not found";
    }
    EXPECT_EQ((std::set<uint32_t>{IT_CALL_GO_READ, IT_CALL_GO_WRITE, IT_CALL_GO_CLIENT, IT_CALL_GO_SERVER,
                                  IT_CALL_GO_CIPHERTEXT, IT_CALL_GO_CLOSE}),
              functions);
    const bool arm = path.ends_with("arm64");
    EXPECT_EQ(!arm, places.value().keeps_arguments);
    EXPECT_GE(places.value().exits.size(), 6u);
    for (const UprobePlace& place : places.value().exits) {
      ASSERT_LT(place.offset + 4, bytes.size());
      EXPECT_EQ(arm ? "\xc0\x03\x5f\xd6"sv : "\xc3"sv, std::string_view(bytes).substr(place.offset, arm ? 4 : 1));
    }
  }
}

TEST(GoProbes, StrippingChangesNothing) {
  NEED_GO();
  auto whole = find_go_places(MemorySource(contents(program("go_peer"))));
  auto stripped = find_go_places(MemorySource(contents(program("go_peer_stripped"))));
  ASSERT_TRUE(whole.ok() && stripped.ok());
  ASSERT_EQ(whole.value().exits.size(), stripped.value().exits.size());
  for (size_t i = 0; i < whole.value().exits.size(); i++)
    EXPECT_EQ(whole.value().exits[i].offset, stripped.value().exits[i].offset);
}

TEST(GoProbes, AFileWithoutSectionHeaders) {
  NEED_GO();
  std::string bytes = contents(program("go_peer_stripped"));
  auto with = find_go_places(MemorySource(bytes));
  Elf64_Ehdr header;
  std::memcpy(&header, bytes.data(), sizeof(header));
  header.e_shoff = header.e_shnum = header.e_shstrndx = 0;
  std::memcpy(bytes.data(), &header, sizeof(header));
  auto without = find_go_places(MemorySource(bytes));
  ASSERT_TRUE(without.ok()) << without.error().message;
  ASSERT_TRUE(with.ok());
  EXPECT_EQ(with.value().exits.size(), without.value().exits.size());
}

TEST(GoProbes, OtherProgramsAreNone) {
  const std::string bytes = contents("/proc/self/exe");
  auto places = find_go_places(MemorySource(bytes));
  ASSERT_FALSE(places.ok());
  EXPECT_EQ(Code::kNotFound, places.error().code);
}

TEST(GoProbes, AnUnknownTableIsNamed) {
  NEED_GO();
  std::string bytes = contents(program("go_peer_stripped"));
  MemorySource source(bytes);
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok());
  const ElfSection* table = image.value().section(".gopclntab");
  ASSERT_NE(nullptr, table);
  bytes[table->offset] = '\xe0';
  auto places = find_go_places(MemorySource(bytes));
  ASSERT_FALSE(places.ok());
  EXPECT_EQ(Code::kUnsupported, places.error().code);
  EXPECT_THAT(places.error().message, testing::HasSubstr("unknown version"));
}

// A function whose instructions do not all decode would hide RETs.
TEST(GoProbes, CodeThatDoesNotDecodeIsRefused) {
  NEED_GO();
  std::string bytes = contents(program("go_peer_stripped"));
  auto places = find_go_places(MemorySource(bytes));
  ASSERT_TRUE(places.ok());
  uint64_t read = 0;
  for (const UprobePlace& place : places.value().enters)
    if (IT_COOKIE_FUNCTION(place.cookie) == IT_CALL_GO_READ) read = place.offset;
  bytes[read + 6] = 0x06;   // behind the jump: no instruction in 64-bit mode
  auto broken = find_go_places(MemorySource(bytes));
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(Code::kUnsupported, broken.error().code);
}

// Whatever a file says, the answer is an error or places inside it; ASan and UBSan look on.
TEST(GoProbes, DamagedTablesNeverLeaveTheFile) {
  NEED_GO();
  const std::string whole = contents(program("go_peer_stripped"));
  MemorySource source(whole);
  auto image = ElfImage::open(source);
  ASSERT_TRUE(image.ok());
  const ElfSection* table = image.value().section(".gopclntab");
  ASSERT_NE(nullptr, table);
  unsigned seed = 1;
  size_t refused = 0;
  for (int round = 0; round < 200; round++) {
    std::string bytes = whole;
    for (int i = 0; i < 3; i++) {   // the header, and what it points to first
      seed = seed * 1103515245 + 12345;
      bytes[table->offset + 8 + seed / 65536 % 64] = static_cast<char>(seed >> 24);
    }
    auto places = find_go_places(MemorySource(bytes));
    if (!places.ok()) {
      refused++;
      continue;
    }
    for (const auto& each : {places.value().enters, places.value().exits})
      for (const UprobePlace& place : each) EXPECT_LT(place.offset, bytes.size());
  }
  EXPECT_GT(refused, 100u);
}

TEST(GoCode, StackChecks) {
  EXPECT_EQ(4u, go_entry(EM_X86_64, "\x49\x3b\x66\x10\x76\x20"sv));
  EXPECT_EQ(4u, go_entry(EM_X86_64, "\x49\x3b\x66\x10\x0f\x86\x20\x00\x00\x00"sv));
  EXPECT_EQ(9u, go_entry(EM_X86_64, "\x4c\x8d\x64\x24\xf0\x4d\x3b\x66\x10\x0f\x86\x20\x00\x00\x00"sv));
  EXPECT_EQ(12u, go_entry(EM_X86_64, "\x4c\x8d\xa4\x24\x00\xff\xff\xff\x4d\x3b\x66\x10\x0f\x86\x20\x00\x00\x00"sv));
  // Go 1.16: g from thread-local storage, arguments on the stack.
  EXPECT_FALSE(go_entry(EM_X86_64, "\x64\x48\x8b\x0c\x25\xf8\xff\xff\xff\x48\x3b\x61\x10\x76\x20"sv));
  EXPECT_FALSE(go_entry(EM_X86_64, "\x49\x3b\x66\x10"sv));
  EXPECT_EQ(8u, go_entry(EM_AARCH64, "\x90\x0b\x40\xf9\xff\x63\x30\xeb\x49\x01\x00\x54"sv));
  EXPECT_FALSE(go_entry(EM_AARCH64, "\x90\x0b\x40\xf9"sv));
}

TEST(GoCode, ArgumentsAreKeptOnlyWhereTheCodeShowsIt) {
  const std::string head = "\x49\x3b\x66\x10\x76\x50"s, frame = "\x48\x83\xec\x68"s;   // sub $0x68,%rsp
  const std::string length = "\x48\x89\x8c\x24\x80\x00\x00\x00"s;                       // mov %rcx,0x80(%rsp)
  const std::string buffer = "\x48\x89\x5c\x24\x78"s, receiver = "\x48\x89\x44\x24\x70"s;
  const std::string end = "\x48\x83\xc4\x68\xc3"s;   // add $0x68,%rsp; ret
  const std::string call = "\xe8\x00\x00\x00\x00"s;
  const auto kept = [&](const std::string& body) { return go_keeps_arguments(EM_X86_64, head + frame + body + end); };
  EXPECT_TRUE(kept(length + buffer + receiver + call));
  EXPECT_FALSE(kept(length + buffer + call + receiver)) << "too late";
  EXPECT_FALSE(kept(length + buffer)) << "not the receiver";
  EXPECT_FALSE(kept("\x48\x89\xd3"s + length + buffer + receiver)) << "mov %rdx,%rbx: another buffer";
  EXPECT_FALSE(kept("\x31\xc9"s + length + buffer + receiver)) << "xor %ecx,%ecx: another length";
  EXPECT_FALSE(kept(length + buffer + receiver + call + buffer)) << "written again";
  EXPECT_FALSE(kept(length + buffer + receiver + "\x48\x8d\x44\x24\x78"s)) << "its address is taken";
  EXPECT_FALSE(kept(length + "\x48\x89\x5c\x24\x70"s + "\x48\x89\x44\x24\x78"s)) << "the wrong slots";
  EXPECT_FALSE(go_keeps_arguments(EM_X86_64, ""));
  EXPECT_FALSE(go_keeps_arguments(EM_AARCH64, head + frame + length + buffer + receiver + end));
  // Since Go 1.21 the frame pointer is pushed: the slots are 8 further.
  const std::string pushed = "\x55\x48\x89\xe5"s;
  EXPECT_FALSE(go_keeps_arguments(EM_X86_64, head + pushed + frame + length + buffer + receiver + end));
  EXPECT_TRUE(go_keeps_arguments(EM_X86_64, head + pushed + "\x48\x83\xec\x60"s + length + buffer + receiver + end));
}

TEST(GoCode, ExitsOfX86) {
  // A byte c3 inside an instruction is none; a jump to outside is a way out that nobody would see.
  auto exits = go_exits(EM_X86_64, "\x48\xc7\xc0\xc3\x00\x00\x00\xc3\x90\xc3\xcc\xcc"sv);
  ASSERT_TRUE(exits.ok()) << exits.error().message;
  EXPECT_THAT(exits.value(), testing::ElementsAre(7u, 9u));
  EXPECT_FALSE(go_exits(EM_X86_64, "\xe9\x00\x10\x00\x00\xc3"sv).ok());
  EXPECT_FALSE(go_exits(EM_X86_64, "\x90\x90"sv).ok());
  EXPECT_FALSE(go_exits(EM_X86_64, "\x06\xc3"sv).ok());
  EXPECT_FALSE(go_exits(EM_X86_64, ""sv).ok());
}

TEST(GoCode, ExitsOfArm) {
  auto exits = go_exits(EM_AARCH64, "\x1f\x20\x03\xd5\xc0\x03\x5f\xd6\xfe\xff\xff\x17"sv);   // nop; ret; b .-8
  ASSERT_TRUE(exits.ok()) << exits.error().message;
  EXPECT_THAT(exits.value(), testing::ElementsAre(4u));
  EXPECT_FALSE(go_exits(EM_AARCH64, "\xc0\x03\x5f\xd6\x10\x00\x00\x14"sv).ok());   // b .+64
}

}  // namespace
}  // namespace infertrail
