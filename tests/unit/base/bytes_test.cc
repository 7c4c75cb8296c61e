#include "base/bytes.h"

#include <gtest/gtest.h>

#include <random>

namespace infertrail {
namespace {

TEST(Bytes, HexBothWays) {
  EXPECT_EQ(hex(std::string("\x00\x7f\xff", 3)), "007fff");
  EXPECT_EQ(from_hex("007FfF"), std::string("\x00\x7f\xff", 3));
  EXPECT_EQ(from_hex("abc"), std::nullopt);
  EXPECT_EQ(from_hex("0g"), std::nullopt);
  EXPECT_EQ(from_hex(""), "");
}

TEST(Bytes, Base64VectorsOfTheRfc) {
  const std::pair<const char*, const char*> rows[] = {{"", ""},
                                                      {"f", "Zg=="},
                                                      {"fo", "Zm8="},
                                                      {"foo", "Zm9v"},
                                                      {"foob", "Zm9vYg=="},
                                                      {"fooba", "Zm9vYmE="},
                                                      {"foobar", "Zm9vYmFy"}};
  for (auto [plain, coded] : rows) {
    EXPECT_EQ(base64_encode(plain), coded);
    EXPECT_EQ(base64_decode(coded), plain);
  }
}

TEST(Bytes, Base64RefusesWhatIsNotCanonical) {
  for (const char* bad :
       {"Zg=", "Zg", "Z===", "Zh==", "Zm9=", "Zm8=Zm8=", "Zm 9v", "Zm9v\n", "Zm9-", "====", "=Zm9"})
    EXPECT_EQ(base64_decode(bad), std::nullopt) << bad;
}

TEST(Bytes, Base64RoundTripsRandomBytes) {
  std::mt19937 random(3);
  for (int i = 0; i < 500; i++) {
    std::string bytes(random() % 50, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    ASSERT_EQ(base64_decode(base64_encode(bytes)), bytes);
    ASSERT_EQ(from_hex(hex(bytes)), bytes);
  }
}

TEST(Bytes, CaseAndTrim) {
  EXPECT_EQ(to_lower("AbC-\xC3\x84"), "abc-\xC3\x84");
  EXPECT_EQ(trim(" \t\r\n a b \v"), "a b");
  EXPECT_EQ(trim("  "), "");
  EXPECT_TRUE(equals_ignore_case("Host", "hOST"));
  EXPECT_FALSE(equals_ignore_case("Host", "Hos"));
  EXPECT_TRUE(starts_with_ignore_case("Bearer x", "bearer "));
  EXPECT_FALSE(starts_with_ignore_case("Bear", "bearer"));
  EXPECT_TRUE(contains_ignore_case("X-Auth-TOKEN", "token"));
  EXPECT_TRUE(contains_ignore_case("", ""));
  EXPECT_FALSE(contains_ignore_case("tok", "token"));
}

TEST(Bytes, FormatBytesIsExact) {
  EXPECT_EQ(format_bytes(0), "0");
  EXPECT_EQ(format_bytes(1000), "1000");
  EXPECT_EQ(format_bytes(64u << 20), "64MiB");
  EXPECT_EQ(format_bytes(1536u << 10), "1536KiB");
  EXPECT_EQ(format_bytes(1ull << 40), "1024GiB");
}

TEST(Bytes, NearestNameWithinHalfItsLength) {
  std::vector<std::string> names = {"max_bytes", "effect", "model"};
  EXPECT_EQ(nearest("maxBytes", names), "max_bytes");
  EXPECT_EQ(nearest("efect", names), "effect");
  EXPECT_EQ(nearest("modle", names), "model");
  EXPECT_EQ(nearest("zzzz", names), "");
  EXPECT_EQ(nearest("ab", {"a"}), "a");
}

}  // namespace
}  // namespace infertrail
