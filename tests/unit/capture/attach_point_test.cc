#include "capture/attach_point.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace infertrail {
namespace {

std::string bytes(const std::string& hex) {
  std::string out;
  for (size_t at = 0; at + 1 < hex.size(); at += 2) {
    while (hex[at] == ' ') at++;
    out.push_back(static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16)));
  }
  return out;
}

// SSL_read of OpenSSL 3.0 as Debian 12 builds it.
const std::string kPlain = bytes(
    "4883ec18 64488b042528000000 4889442408 31c0 85d2 782f 4889e1 4863d2 e83dfeffff 85c0 7e03 8b0424 "
    "488b542408 64482b142528000000 7544 4883c418 c3");
// SSL_write of OpenSSL 3.6 with CET.
const std::string kCet = bytes(
    "f30f1efa 4883ec18 64488b042528000000 4889442408 31c0 85d2 7832 31c9 89d2 4989e0 e878f9ffff 85c0 "
    "0f4f0424 488b542408 64482b142528000000 7547 4883c418 c3");
// BIO_write of OpenSSL 3.0: not positive lengths jump to the end.
const std::string kBioWrite = bytes(
    "4883ec18 64488b042528000000 4889442408 31c0 85d2 7e12 4889e1 4863d2 e88df9ffff 85c0 7e03 8b0424 "
    "488b542408 64482b142528000000 750d 4883c418 c3");

#ifdef __x86_64__
TEST(AttachPoint, FindsTheJumpsOfDistributionBuilds) {
  auto plain = cheap_call_points(kPlain);
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->enter, 0x16u);
  EXPECT_EQ(plain->frame, 0x18u);
  EXPECT_EQ(plain->exit, 0x38u);
  auto cet = cheap_call_points(kCet);
  ASSERT_TRUE(cet);
  EXPECT_EQ(cet->enter, 0x1au);
  EXPECT_EQ(cet->frame, 0x18u);
  EXPECT_EQ(cet->exit, 0x3cu);
  auto bio = cheap_entry_point(kBioWrite);
  ASSERT_TRUE(bio);
  EXPECT_EQ(bio->enter, 0x16u);
  // BIO_write of node 20: the jump is a far one.
  auto far = cheap_entry_point(bytes("31c0 85d2 0f8e06010000 55 4889e5"));
  ASSERT_TRUE(far);
  EXPECT_EQ(far->enter, 4u);
  EXPECT_FALSE(cheap_entry_point(bytes("31c0 85d2 0f8506010000 55 4889e5")));   // not about n
  EXPECT_FALSE(cheap_entry_point(bytes("31c0 85d2 0f8e0601")));
}
#endif

// A call that skips the exit would leave its arguments to the next one.
TEST(AttachPoint, RefusesWhatCouldPassTheExitBy) {
  std::string code = kPlain;
  code[code.find("\x7e\x03", 0, 2) + 1] = 0x13;   // lands behind the stack protector's jump
  EXPECT_FALSE(cheap_call_points(code));
  code[code.find("\x7e\x13", 0, 2) + 1] = 0x02;   // lands inside an instruction
  EXPECT_FALSE(cheap_call_points(code));
  EXPECT_FALSE(cheap_call_points(kBioWrite)) << "zero bytes do not pass the exit";
}

TEST(AttachPoint, RefusesOtherFunctions) {
  EXPECT_FALSE(cheap_call_points(""));
  EXPECT_FALSE(cheap_entry_point(bytes("5548 89fd")));
  // The length was overwritten before the jump.
  EXPECT_FALSE(cheap_entry_point(bytes("4883ec18 31d2 85d2 782f")));
  EXPECT_FALSE(cheap_entry_point(bytes("4883ec18 85d2 31c0 782f")));
  for (size_t length = 0; length < 0x3a; length++)
    EXPECT_FALSE(cheap_call_points(kPlain.substr(0, length))) << length;
}

TEST(AttachPoint, RandomBytesStayInside) {
  std::mt19937 random(7);
  for (int i = 0; i < 200000; i++) {
    std::string code = i % 2 ? kPlain : kCet;
    code.resize(random() % (code.size() + 1));
    for (int n = 0; n < 2 && !code.empty(); n++) code[random() % code.size()] = static_cast<char>(random());
    if (auto points = cheap_call_points(code)) {
      EXPECT_LT(points->enter, points->exit);
      EXPECT_LT(points->exit + 1, code.size());
    }
  }
}

}  // namespace
}  // namespace infertrail
