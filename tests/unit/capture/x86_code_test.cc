#include "capture/x86_code.h"

#include <gtest/gtest.h>

#include <vector>

namespace infertrail {
namespace {

using namespace std::string_view_literals;

std::vector<uint64_t> calls(std::string_view code, uint64_t address, bool jumps) {
  std::vector<uint64_t> out;
  visit_calls(code, address, jumps, [&](uint64_t target, size_t) {
    out.push_back(target);
    return true;
  });
  return out;
}

std::vector<uint64_t> references(std::string_view code, uint64_t address) {
  std::vector<uint64_t> out;
  visit_references(code, address, [&](uint64_t target, size_t) {
    out.push_back(target);
    return true;
  });
  return out;
}

TEST(X86CodeTest, CallsAndJumps) {
  const auto call = "\xe8\xfb\x0f\x00\x00"sv;       // call +0x1000 from its own beginning
  const auto jump = "\xe9\xfb\xff\xff\xff"sv;       // jmp to itself
  const auto branch = "\x0f\x8e\x0a\x00\x00\x00"sv; // jle, 0x10 behind its beginning
  EXPECT_EQ(std::vector<uint64_t>{0x2000}, calls(call, 0x1000, false));
  EXPECT_EQ(std::vector<uint64_t>{}, calls(jump, 0x1000, false));
  EXPECT_EQ(std::vector<uint64_t>{0x1000}, calls(jump, 0x1000, true));
  EXPECT_EQ(std::vector<uint64_t>{0x1010}, calls(branch, 0x1000, true));
  for (size_t n = 0; n < 5; n++) EXPECT_EQ(std::vector<uint64_t>{}, calls(call.substr(0, n), 0x1000, true)) << n;
  EXPECT_EQ(std::vector<uint64_t>{}, calls(branch.substr(0, 5), 0x1000, true));
}

TEST(X86CodeTest, References) {
  EXPECT_EQ(std::vector<uint64_t>{0x829a8}, references("\x48\x8d\x15\xe5\xd4\x04\x00"sv, 0x354bc));   // lea, libssl's
  EXPECT_EQ(std::vector<uint64_t>{0x829a8}, references("\x4c\x8d\x05\xe5\xd4\x04\x00"sv, 0x354bc));   // to r8
  EXPECT_EQ(std::vector<uint64_t>{0x2d4fc60}, references("\xba\x60\xfc\xd4\x02"sv, 0x1a6b225));       // mov, node's
  EXPECT_EQ(std::vector<uint64_t>{}, references("\x48\x8d\x15\xe5\xd4\x04"sv, 0x354bc));
  EXPECT_EQ(std::vector<uint64_t>{}, references("\x48\x8d\x54\x24\x08\x90\x90"sv, 0));   // lea 8(%rsp): no address
}

TEST(X86CodeTest, Trap45_TheShapeOfSslWrite) {
  // OpenSSL 3.0 of Debian 12; 3.6.5 of Debian sid; with a frame pointer; what is neither.
  EXPECT_EQ(WriteShape::kFour, write_shape("\x78\x2f\x48\x89\xe1\x48\x63\xd2"sv));
  EXPECT_EQ(WriteShape::kFive, write_shape("\x78\x32\x31\xc9\x89\xd2\x49\x89\xe0"sv));
  EXPECT_EQ(WriteShape::kFour, write_shape("\x48\x8d\x4d\xa8\x48\x63\xd2"sv));
  EXPECT_EQ(WriteShape::kFive, write_shape("\x31\xc9\x4c\x8d\x45\xa8"sv));
  EXPECT_EQ(WriteShape::kUnknown, write_shape("\x4c\x8d\x45\xa8"sv));                   // flags from elsewhere
  EXPECT_EQ(WriteShape::kUnknown, write_shape("\x48\x89\xe1\x31\xc9\x49\x89\xe0"sv));   // both
  EXPECT_EQ(WriteShape::kUnknown, write_shape("\x48\x8d\x4c\x24"sv));                   // cut
  EXPECT_EQ(WriteShape::kUnknown, write_shape(""));
}

}  // namespace
}  // namespace infertrail
