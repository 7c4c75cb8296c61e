#include "trail/writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "base/crc32c.h"
#include "trail/entry.h"
#include "trail_support.h"

namespace infertrail::trail {
namespace {

namespace fs = std::filesystem;

TEST(Writer, WhatIsAppendedIsReadBackInOrder) {
  TempDir temp;
  auto writer = TrailWriter::open(options_of(temp.trail()));
  ASSERT_OK(writer);
  for (uint64_t i = 0; i < 50; i++) {
    auto index = writer.value()->append_durable(make_record(i));
    ASSERT_OK(index);
    EXPECT_EQ(index.value(), i);
  }
  auto reader = Reader::open(temp.trail());
  ASSERT_OK(reader);
  for (uint64_t i = 0; i < 50; i++) {
    auto record = reader.value()->read(i);
    ASSERT_OK(record);
    EXPECT_EQ(record.value().inference().output_text(), text_of(i));
    EXPECT_EQ(record.value().index(), i);
    EXPECT_EQ(record.value().salt().size(), kSaltBytes);
    EXPECT_EQ(record.value().id().size(), 36u);
    EXPECT_EQ(record.value().id()[14], '7');
  }
  EXPECT_EQ(reader.value()->read(50).error().code, Code::kNotFound);
}

TEST(Writer, GroupsOfManyProducersAreOneLogWithoutLoss) {
  TempDir temp;
  std::set<std::string> told;
  TrailOptions options = options_of(temp.trail());
  options.segment_bytes = 50000;
  options.queue_records = 16;
  uint64_t next = 0;
  options.on_sequenced = [&](uint64_t index, const std::string& id) {
    EXPECT_EQ(index, next++);
    told.insert(id);
  };
  auto writer = TrailWriter::open(options);
  ASSERT_OK(writer);
  std::vector<std::thread> producers;
  for (int t = 0; t < 4; t++)
    producers.emplace_back([&, t] {
      for (uint64_t i = 0; i < 500; i++)
        EXPECT_OK(writer.value()->append(make_record(t * 1000 + i)));
    });
  for (std::thread& thread : producers) thread.join();
  ASSERT_OK(writer.value()->close());
  EXPECT_EQ(told.size(), 2000u);
  TrailStats stats = writer.value()->stats();
  EXPECT_EQ(stats.size, 2000u);
  EXPECT_EQ(stats.published, 2000u);
  EXPECT_LT(stats.commits, 2000u);
  EXPECT_GT(list_segments(temp.trail()).value().size(), 1u);
  auto report = verify_trail(temp.trail());
  ASSERT_OK(report);
  EXPECT_EQ(report.value().size, 2000u);
}

TEST(Writer, PublishesWithinTheInterval) {
  TempDir temp;
  TrailOptions options = options_of(temp.trail());
  options.checkpoint_interval = std::chrono::milliseconds(30);
  auto writer = TrailWriter::open(options);
  ASSERT_OK(writer);
  ASSERT_OK(writer.value()->append_durable(make_record(1)));
  auto began = std::chrono::steady_clock::now();
  while (writer.value()->stats().published < 1) {
    ASSERT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(20));
  ASSERT_OK(verify_trail(temp.trail()));
}

TEST(Writer, GoesOnWhereItStopped) {
  TempDir temp;
  for (uint64_t run = 0; run < 5; run++)
    ASSERT_OK(write_records(options_of(temp.trail()), run * 70, 70));
  auto report = verify_trail(temp.trail());
  ASSERT_OK(report);
  EXPECT_EQ(report.value().size, 350u);
  auto reader = Reader::open(temp.trail());
  for (uint64_t i = 0; i < 350; i++)
    EXPECT_EQ(reader.value()->read(i).value().inference().output_text(), text_of(i));
}

TEST(Writer, ASecondWriterIsRefused) {
  TempDir temp;
  auto writer = TrailWriter::open(options_of(temp.trail()));
  ASSERT_OK(writer);
  auto second = TrailWriter::open(options_of(temp.trail()));
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("another infertraild writes this trail"),
            std::string::npos);
}

TEST(Writer, AKeyThatOthersCanReadIsRefused) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 1));
  std::string key = temp.trail() + "/keys/log.key";
  struct stat info;
  ASSERT_EQ(::stat(key.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  for (mode_t mode : {0640, 0604, 0620}) {
    ASSERT_EQ(::chmod(key.c_str(), mode), 0);
    auto writer = TrailWriter::open(options_of(temp.trail()));
    ASSERT_FALSE(writer.ok());
    EXPECT_NE(writer.error().message.find("chmod 600"), std::string::npos);
  }
}

TEST(Writer, AMissingKeyOfAnOldTrailAndAnotherOriginAreRefused) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 1));
  TrailOptions other = options_of(temp.trail());
  other.origin = "infertrail.test/node2";
  EXPECT_NE(write_records(other, 0, 1).error().message.find("another log"), std::string::npos);
  fs::remove(temp.trail() + "/keys/log.key");
  EXPECT_NE(write_records(options_of(temp.trail()), 0, 1)
                .error()
                .message.find("key of this trail is gone"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(temp.trail() + "/keys/log.key"));
}

TEST(Writer, DirectoriesOpenToOthersOrNotWritableAreRefusedWithTheirName) {
  TempDir temp;
  ASSERT_EQ(::mkdir(temp.trail().c_str(), 0777), 0);
  ASSERT_EQ(::chmod(temp.trail().c_str(), 0777), 0);
  EXPECT_NE(write_records(options_of(temp.trail()), 0, 1).error().message.find("chmod 700"),
            std::string::npos);
  // A place where nothing can be made, for root too.
  EXPECT_NE(
      write_records(options_of("/proc/infertrail"), 0, 1).error().message.find("/proc/infertrail"),
      std::string::npos);
  store(temp.path() + "/file", "x");
  EXPECT_FALSE(write_records(options_of(temp.path() + "/file"), 0, 1).ok());
}

TEST(Writer, AReadOnlyDirectoryIsAClearError) {
  TempDir temp;
  TrailOptions options = options_of(temp.trail());
  auto refused = [](const char*, int flags, mode_t) {
    errno = EROFS;
    (void)flags;
    return -1;
  };
  options.files.open = refused;
  auto writer = TrailWriter::open(options);
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().code, Code::kPermission);
  EXPECT_NE(writer.error().message.find("Read-only file system"), std::string::npos);
}

TEST(Writer, ForeignAndNewerSegmentsStopTheStartWithTheirName) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 3));
  std::string name = SegmentName{0, 0}.path(), path = temp.trail() + "/" + name, good = load(path);
  store(path, std::string(100, 'x'));
  std::string foreign = write_records(options_of(temp.trail()), 3, 1).error().message;
  EXPECT_NE(foreign.find(name + ": is not a segment"), std::string::npos) << foreign;
  std::string header = good.substr(0, 60);
  header[8] = 2;
  std::string crc;
  uint32_t value = crc32c(header);
  for (int i = 0; i < 4; i++) crc.push_back(static_cast<char>(value >> (8 * i)));
  store(path, header + crc + good.substr(64));
  std::string newer = write_records(options_of(temp.trail()), 3, 1).error().message;
  EXPECT_NE(newer.find("format version 2"), std::string::npos) << newer;
  store(path, good);
  store(temp.trail() + "/segments/notes.txt", "x");
  EXPECT_NE(write_records(options_of(temp.trail()), 3, 1).error().message.find("notes.txt"),
            std::string::npos);
}

TEST(Writer, RefusesToStartOnARootThatDiffersAndSaysWhatToDo) {
  TempDir temp;
  std::string dir = temp.trail(), other = temp.path() + "/other";
  ASSERT_OK(write_records(options_of(dir), 0, 300));
  copy_tree(dir, other);
  ASSERT_OK(write_records(options_of(dir), 300, 10));
  ASSERT_OK(write_records(options_of(other), 900, 10));
  store(dir + "/checkpoint", load(other + "/checkpoint"));
  std::string said = write_records(options_of(dir), 400, 1).error().message;
  EXPECT_NE(said.find("root"), std::string::npos) << said;
  EXPECT_NE(said.find("new origin"), std::string::npos) << said;
}

TEST(Writer, RefusesToStartWhenPublishedEntriesOrTilesAreNotTheirs) {
  TempDir temp;
  std::string dir = temp.trail(), copy = temp.path() + "/copy";
  ASSERT_OK(write_records(options_of(dir), 0, 300));
  copy_tree(dir, copy);
  std::string segment = copy + "/" + SegmentName{0, 0}.path();
  store(segment, load(segment).substr(0, 200));
  EXPECT_NE(write_records(options_of(copy), 0, 1).error().message.find("300 entries are published"),
            std::string::npos);
  copy_tree(dir, copy);
  store(copy + "/tile/0/000", std::string(8192, 'x'));
  EXPECT_NE(write_records(options_of(copy), 0, 1).error().message.find("tile/0/000: differs"),
            std::string::npos);
}

TEST(Writer, MakesMissingTilesAndTheCheckpointAgain) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 600));
  std::string before = load(temp.trail() + "/checkpoint");
  auto files = files_below(temp.trail() + "/tile");
  fs::remove_all(temp.trail() + "/tile");
  fs::remove(temp.trail() + "/checkpoint");
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 0));
  EXPECT_EQ(load(temp.trail() + "/checkpoint"), before);
  EXPECT_EQ(files_below(temp.trail() + "/tile"), files);
  ASSERT_OK(verify_trail(temp.trail()));
}

TEST(Writer, RecordsOfManyMegabytesAndOddTextComeBack) {
  TempDir temp;
  std::string big(20u << 20, 'y');
  for (size_t i = 0; i < big.size(); i += 977) big[i] = static_cast<char>('a' + i % 23);
  Record record = make_record(0);
  record.mutable_request()->set_body(big);
  record.mutable_inference()->set_model(std::string(5000, 'm') + "\xC3");
  record.mutable_event()->set_what("bad \xFF\xFE utf8");
  (*record.mutable_mask()->mutable_counts())["ty\xFFpe"] = 3;
  for (int i = 0; i < 200; i++)
    (*record.mutable_mask()->mutable_counts())["type" + std::to_string(i)] = 1;
  {
    auto writer = TrailWriter::open(options_of(temp.trail()));
    ASSERT_OK(writer);
    ASSERT_OK(writer.value()->append_durable(record));
    ASSERT_OK(writer.value()->append_durable(make_record(1)));
  }
  auto reader = Reader::open(temp.trail());
  auto read = reader.value()->read(0);
  ASSERT_OK(read);
  EXPECT_EQ(read.value().request().body(), big);
  EXPECT_EQ(read.value().event().what(), "bad \xEF\xBF\xBD\xEF\xBF\xBD utf8");
  EXPECT_EQ(read.value().mask().counts().size(), 201u);
  EXPECT_EQ(read.value().inference().model().size(), 5003u);
  ASSERT_OK(verify_trail(temp.trail()));
}

TEST(Writer, AnAppendAfterCloseIsAnError) {
  TempDir temp;
  auto writer = TrailWriter::open(options_of(temp.trail()));
  ASSERT_OK(writer);
  ASSERT_OK(writer.value()->close());
  EXPECT_FALSE(writer.value()->append(make_record(1)).ok());
  EXPECT_FALSE(writer.value()->append_durable(make_record(1)).ok());
}

TEST(Writer, FollowersAreWokenByASequencedRecord) {
  TempDir temp;
  auto writer = TrailWriter::open(options_of(temp.trail()));
  ASSERT_OK(writer);
  EXPECT_EQ(writer.value()->wait_sequenced(0, std::chrono::milliseconds(1)), 0u);
  std::thread producer([&] { EXPECT_OK(writer.value()->append(make_record(1))); });
  EXPECT_EQ(writer.value()->wait_sequenced(0, std::chrono::seconds(10)), 1u);
  producer.join();
}

}  // namespace
}  // namespace infertrail::trail
