#include "base/crypto.h"

#include <gtest/gtest.h>

#include <set>

#include "base/bytes.h"

namespace infertrail {
namespace {

TEST(Crypto, Sha256VectorsOfFips180) {
  EXPECT_EQ(hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Crypto, IncrementalEqualsOneShotAndStartsOver) {
  Sha256 hash;
  for (int round = 0; round < 2; round++) {
    hash.update("a");
    hash.update("");
    hash.update("bc");
    EXPECT_EQ(hash.finish(), sha256("abc"));
  }
}

TEST(Crypto, HmacVectorsOfRfc4231) {
  EXPECT_EQ(hex(hmac_sha256(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(hmac_sha256({}, {})),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Crypto, RandomBytesDiffer) {
  auto a = random_bytes(32), b = random_bytes(32);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a.value().size(), 32u);
  EXPECT_NE(a.value(), b.value());
}

TEST(Crypto, Uuid7HasVersionVariantAndTime) {
  auto id = uuid_v7(0x017F22E279B0ull * 1000000 + 500000);  // the example time of RFC 9562
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(id.value().size(), 36u);
  EXPECT_EQ(id.value().substr(0, 18), "017f22e2-79b0-7800");
  EXPECT_NE(std::string("89ab").find(id.value()[19]), std::string::npos);
  EXPECT_EQ(id.value()[23], '-');
}

TEST(Crypto, Uuid7SortsByTimeAndIsUnique) {
  std::set<std::string> seen;
  std::string last;
  for (uint64_t i = 0; i < 1000; i++) {
    auto id = uuid_v7(1700000000000000000 + i * 250);
    ASSERT_TRUE(id.ok());
    EXPECT_LE(last.substr(0, 18), id.value().substr(0, 18));
    last = id.value();
    EXPECT_TRUE(seen.insert(last).second);
  }
}

}  // namespace
}  // namespace infertrail
