#include "trail/verify.h"

#include <unistd.h>

#include "trail_support.h"

namespace infertrail::trail {
namespace {

namespace fs = std::filesystem;

std::string failure(const std::string& dir, const VerifyOptions& options = {}) {
  auto report = verify_trail(dir, options);
  return report.ok() ? "verified" : report.error().message;
}

bool is_evidence(const std::string& path) {
  return path.starts_with("segments/") || path.starts_with("tile/") || path == "checkpoint" ||
         path == "log.vkey";
}

// A closed trail of several segments, commits and checkpoints, one of them a torn tail with its
// record.
void build_rich_trail(const std::string& dir) {
  TrailOptions options = options_of(dir);
  ASSERT_OK(write_singly(options, 0, 3));
  // A crash in the middle of a frame.
  std::string segment = dir + "/" + SegmentName{0, 0}.path();
  store(segment, load(segment) + load(segment).substr(64, 40));
  options.segment_bytes = 300;
  ASSERT_OK(write_singly(options, 3, 3));
}

TEST(Verify, AGoodTrailIsReportedWithItsNumbers) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 600));
  auto report = verify_trail(temp.trail());
  ASSERT_OK(report);
  EXPECT_EQ(report.value().origin, "infertrail.test/node1");
  EXPECT_EQ(report.value().size, 600u);
  EXPECT_EQ(report.value().records, 600u);
  EXPECT_EQ(report.value().unpublished, 0u);
  EXPECT_EQ(report.value().root_base64, load(temp.trail() + "/checkpoint").substr(26, 44));
  EXPECT_EQ(report.value().torn_tail, "");
}

TEST(Verify, AnEmptyTrailVerifies) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 0));
  auto report = verify_trail(temp.trail());
  ASSERT_OK(report);
  EXPECT_EQ(report.value().size, 0u);
}

TEST(Verify, EveryFlippedByteOfEveryFileIsFoundAndItsFileNamed) {
  TempDir temp;
  build_rich_trail(temp.trail());
  ASSERT_EQ(failure(temp.trail()), "verified");
  size_t flips = 0, files = 0;
  for (const std::string& path : files_below(temp.trail())) {
    if (!is_evidence(path)) continue;
    files++;
    const std::string good = load(temp.trail() + "/" + path);
    for (size_t i = 0; i < good.size(); i++)
      for (int mask : {0x01, 0x80}) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ mask);
        store(temp.trail() + "/" + path, bad);
        std::string said = failure(temp.trail());
        ASSERT_NE(said.find(path), std::string::npos)
            << path << " byte " << i << " mask " << mask << ": " << said;
        flips++;
      }
    store(temp.trail() + "/" + path, good);
  }
  EXPECT_EQ(failure(temp.trail()), "verified");
  EXPECT_GT(flips, 5000u);
  EXPECT_GE(files, 9u);
}

TEST(Verify, EveryFileCutOrRemovedOrLengthenedIsFound) {
  TempDir temp;
  build_rich_trail(temp.trail());
  const std::string last = list_segments(temp.trail()).value().back().path();
  for (const std::string& path : files_below(temp.trail())) {
    if (!is_evidence(path)) continue;
    std::string full = temp.trail() + "/" + path, good = load(full);
    store(full, good.substr(0, good.size() - 1));
    EXPECT_NE(failure(temp.trail()), "verified") << path << " cut";
    store(full, good.substr(0, good.size() / 2));
    EXPECT_NE(failure(temp.trail()), "verified") << path << " halved";
    store(full, "");
    EXPECT_NE(failure(temp.trail()), "verified") << path << " emptied";
    fs::remove(full);
    EXPECT_NE(failure(temp.trail()), "verified") << path << " removed";
    store(full, good + "x");
    if (path == last) {  // as a write that was not finished would leave it
      EXPECT_EQ(
          verify_trail(temp.trail()).value().torn_tail,
          path + ": torn tail at offset " + std::to_string(good.size()) + ": not acknowledged");
    } else {
      EXPECT_NE(failure(temp.trail()), "verified") << path << " lengthened";
    }
    store(full, good);
  }
  EXPECT_EQ(failure(temp.trail()), "verified");
}

TEST(Verify, StrayAndSwappedTilesAreNamed) {
  TempDir temp;
  std::string dir = temp.trail(), copy = temp.path() + "/copy";
  ASSERT_OK(write_records(options_of(dir), 0, 700));
  auto after = [&](const std::function<void()>& change) {
    copy_tree(dir, copy);
    change();
    return failure(copy);
  };
  EXPECT_EQ(after([] {}), "verified");
  EXPECT_NE(after([&] { store(copy + "/tile/0/009", "x"); }).find("tile/0/009"), std::string::npos);
  EXPECT_NE(after([&] {
              fs::create_directories(copy + "/tile/0/001.p");
              store(copy + "/tile/0/001.p/7", std::string(7 * 32, 'x'));
            }).find("tile/0/001.p/7"),
            std::string::npos);
  EXPECT_NE(after([&] {
              store(copy + "/tile/0/002.p/255", load(copy + "/tile/0/001").substr(0, 255 * 32));
            }).find("tile/0/002.p/255"),
            std::string::npos);
  EXPECT_NE(after([&] {
              fs::rename(copy + "/tile/entries/000", copy + "/x");
              fs::rename(copy + "/tile/entries/001", copy + "/tile/entries/000");
              fs::rename(copy + "/x", copy + "/tile/entries/001");
            }).find("tile/entries/000"),
            std::string::npos);
  EXPECT_NE(after([&] { fs::remove(copy + "/tile/1/000.p/2"); }).find("tile/1/000.p/2"),
            std::string::npos);
  // A stale partial that is a true beginning is what a static server may still have: fine.
  EXPECT_EQ(after([&] {
              fs::create_directories(copy + "/tile/0/001.p");
              store(copy + "/tile/0/001.p/7", load(copy + "/tile/0/001").substr(0, 7 * 32));
            }),
            "verified");
}

TEST(Verify, ARolledBackTrailIsFoundByAnOlderCheckpointOnly) {
  TempDir temp;
  std::string dir = temp.trail(), old = temp.path() + "/old";
  ASSERT_OK(write_records(options_of(dir), 0, 10));
  copy_tree(dir, old);
  ASSERT_OK(write_records(options_of(dir), 10, 10));
  EXPECT_EQ(failure(old), "verified");
  EXPECT_NE(failure(old, {"", dir + "/checkpoint"}).find("ROLLBACK"), std::string::npos);
  EXPECT_EQ(failure(dir, {"", old + "/checkpoint"}), "verified");
  // The key's owner writes another history behind the same beginning.
  std::string fork = temp.path() + "/fork";
  copy_tree(old, fork);
  ASSERT_OK(write_records(options_of(fork), 500, 30));
  EXPECT_EQ(failure(fork), "verified");
  EXPECT_NE(failure(fork, {"", dir + "/checkpoint"}).find("FORK"), std::string::npos);
}

TEST(Verify, AnotherLogsKeyAndAForeignSegmentAreRefused) {
  TempDir temp;
  std::string dir = temp.trail(), other = temp.path() + "/other";
  ASSERT_OK(write_records(options_of(dir), 0, 5));
  TrailOptions options = options_of(other);
  options.origin = "infertrail.test/other";
  ASSERT_OK(write_records(options, 0, 5));
  EXPECT_NE(failure(dir, {other + "/log.vkey", ""}).find("log.vkey"), std::string::npos);
  std::string segment = SegmentName{0, 0}.path();
  store(dir + "/" + segment, load(other + "/" + segment));
  EXPECT_NE(failure(dir).find("another log"), std::string::npos);
}

TEST(Verify, WorksWhileADaemonIsWriting) {
  TempDir temp;
  TrailOptions options = options_of(temp.trail());
  options.checkpoint_interval = std::chrono::milliseconds(1);
  options.segment_bytes = 20000;
  auto writer = TrailWriter::open(options);
  ASSERT_OK(writer);
  std::atomic<bool> stop{false};
  std::thread load([&] {
    for (uint64_t i = 0; !stop; i++) {
      EXPECT_OK(writer.value()->append(make_record(i)));
      if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  int verified = 0;
  for (; writer.value()->stats().published < 4000; verified++)
    EXPECT_EQ(failure(temp.trail()), "verified");
  EXPECT_GT(verified, 5);
  stop = true;
  load.join();
  ASSERT_OK(writer.value()->close());
  EXPECT_EQ(failure(temp.trail()), "verified");
}

}  // namespace
}  // namespace infertrail::trail
