// The fuzz entries on mutations of good input, with a fixed seed: a crash is the failure.
#include <gtest/gtest.h>

#include <random>

#include "trail/checkpoint.h"
#include "trail/segment.h"

extern "C" int segment_fuzz(const uint8_t* data, size_t size);
extern "C" int checkpoint_fuzz(const uint8_t* data, size_t size);

namespace infertrail::trail {
namespace {

void mutate(const std::string& good, int rounds, int (*entry)(const uint8_t*, size_t)) {
  std::mt19937_64 random(20261121);
  for (int round = 0; round < rounds; round++) {
    std::string bytes = good;
    for (uint64_t edits = 1 + random() % 6; edits > 0 && !bytes.empty(); edits--) {
      size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 9);
          break;
        case 2:
          bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 40));
          break;
        case 3:
          bytes.resize(at);
          break;
      }
    }
    EXPECT_EQ(entry(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
  }
}

TEST(Fuzz, TheSegmentReaderSurvivesMutatedSegments) {
  std::string segment = encode_header({log_id("log.test/a"), 0, 0, 1});
  std::string body(3000, 'b');
  ASSERT_TRUE(append_bodies_frame(segment, 0, {body, "second"}).ok());
  ASSERT_TRUE(append_leaves_frame(segment, 0, {"leaf", "other leaf"}).ok());
  ASSERT_TRUE(append_checkpoint_frame(segment, 2, "note").ok());
  mutate(segment, 20000, segment_fuzz);
}

TEST(Fuzz, TheCheckpointReaderAcceptsNothingButWhatWasSigned) {
  auto key = Ed25519Key::from_seed(std::string(32, '\x07'));
  auto note = sign_checkpoint({"log.test/a", 12345, sha256("x")}, key.value());
  ASSERT_TRUE(note.ok());
  mutate(note.value(), 20000, checkpoint_fuzz);
  mutate(VerifierKey{"log.test/a", key.value().public_key()}.text(), 20000, checkpoint_fuzz);
}

}  // namespace
}  // namespace infertrail::trail
