#include "trail/checkpoint.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace infertrail::trail {
namespace {

const std::string kDash = "\xE2\x80\x94 ";

struct Log {
  Ed25519Key key = std::move(Ed25519Key::from_seed(std::string(32, '\x07')).value());
  VerifierKey vkey{"log.test/a", key.public_key()};

  std::string sign_text(const std::string& text, const std::string& id,
                        const std::string& name) const {
    auto signature = key.sign(text);
    std::string blob = id;
    blob.append(reinterpret_cast<const char*>(signature.value().data()), 64);
    return kDash + name + " " + base64_encode(blob) + "\n";
  }
  // A note over any text, rightly signed.
  std::string note(const std::string& text) const {
    return text + "\n" + sign_text(text, vkey.key_id(), vkey.name);
  }
};

std::string root64() {
  return base64_encode(bytes_of(sha256("root")));
}

TEST(Checkpoint, ReadsWhatItSigned) {
  Log log;
  auto note = sign_checkpoint({"log.test/a", 70000, sha256("root")}, log.key);
  ASSERT_TRUE(note.ok());
  auto read = open_checkpoint(note.value(), log.vkey);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read.value().size, 70000u);
  EXPECT_EQ(read.value().root, sha256("root"));
}

TEST(Checkpoint, NumbersThatAreNotCanonicalAreRefusedThoughSigned) {
  Log log;
  for (const char* size : {"01", "+1", "-1", "", " 1", "1 ", "0x1", "18446744073709551616", "1e3"})
    EXPECT_FALSE(
        open_checkpoint(log.note("log.test/a\n" + std::string(size) + "\n" + root64() + "\n"),
                        log.vkey)
            .ok())
        << size;
  EXPECT_TRUE(
      open_checkpoint(log.note("log.test/a\n18446744073709551615\n" + root64() + "\n"), log.vkey)
          .ok());
  EXPECT_TRUE(open_checkpoint(log.note("log.test/a\n0\n" + root64() + "\n"), log.vkey).ok());
}

TEST(Checkpoint, ExtensionLinesOtherOriginsAndOddRootsAreRefusedThoughSigned) {
  Log log;
  EXPECT_FALSE(
      open_checkpoint(log.note("log.test/a\n1\n" + root64() + "\nextra\n"), log.vkey).ok());
  EXPECT_FALSE(open_checkpoint(log.note("log.test/b\n1\n" + root64() + "\n"), log.vkey).ok());
  EXPECT_FALSE(
      open_checkpoint(log.note("log.test/a\n1\n" + root64().substr(0, 40) + "\n"), log.vkey).ok());
  std::string loose = root64();
  loose[42]++;  // bits that decode to nothing
  EXPECT_FALSE(open_checkpoint(log.note("log.test/a\n1\n" + loose + "\n"), log.vkey).ok());
}

TEST(Checkpoint, AWrongKeyIdIsRefused) {
  Log log;
  std::string text = "log.test/a\n1\n" + root64() + "\n";
  EXPECT_FALSE(
      open_checkpoint(text + "\n" + log.sign_text(text, "abcd", "log.test/a"), log.vkey).ok());
}

TEST(Checkpoint, ASecondLineOfTheLogsNameIsRefusedAndOthersAreIgnored) {
  Log log;
  std::string text = "log.test/a\n1\n" + root64() + "\n";
  std::string own = log.sign_text(text, log.vkey.key_id(), "log.test/a");
  std::string witness = kDash + "witness " + base64_encode(std::string(76, 'w')) + "\n";
  EXPECT_TRUE(open_checkpoint(text + "\n" + witness + own + witness, log.vkey).ok());
  EXPECT_FALSE(open_checkpoint(text + "\n" + own + own, log.vkey).ok());
  EXPECT_FALSE(
      open_checkpoint(text + "\n" + own + log.sign_text(text, "abcd", "log.test/a"), log.vkey)
          .ok());
  EXPECT_FALSE(open_checkpoint(text + "\n" + witness, log.vkey).ok());
  EXPECT_FALSE(open_checkpoint(text + "\n" + own + "junk\n", log.vkey).ok());
  EXPECT_FALSE(open_checkpoint(text + "\n" + own.substr(0, own.size() - 1), log.vkey).ok());
}

TEST(Checkpoint, EveryFlippedBitIsRefused) {
  Log log;
  std::string note = sign_checkpoint({"log.test/a", 5, sha256("root")}, log.key).value();
  for (size_t i = 0; i < note.size(); i++)
    for (int bit = 0; bit < 8; bit++) {
      std::string other = note;
      other[i] = static_cast<char>(other[i] ^ (1 << bit));
      EXPECT_FALSE(open_checkpoint(other, log.vkey).ok()) << i << "." << bit;
    }
}

TEST(VerifierKey, TheKnownKeyHasTheKnownText) {
  // The example of golang.org/x/mod/sumdb/note.
  std::string text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
  auto key = VerifierKey::parse(text);
  ASSERT_TRUE(key.ok()) << key.error().message;
  EXPECT_EQ(key.value().name, "PeterNeumann");
  EXPECT_EQ(key.value().text(), text);
}

TEST(VerifierKey, EveryFlippedBitIsRefused) {
  std::string text = Log().vkey.text();
  for (size_t i = 0; i < text.size(); i++)
    for (int bit = 0; bit < 8; bit++) {
      std::string other = text;
      other[i] = static_cast<char>(other[i] ^ (1 << bit));
      EXPECT_FALSE(VerifierKey::parse(other).ok()) << other;
    }
}

}  // namespace
}  // namespace infertrail::trail
