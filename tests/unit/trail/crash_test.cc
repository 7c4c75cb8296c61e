// What survives: torn writes at every byte, a disk that fails at every call, and kill -9 under
// load.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>

#include "trail_support.h"

namespace infertrail::trail {
namespace {

std::string why(const std::string& dir) {
  auto report = verify_trail(dir);
  return report.ok() ? "verified" : report.error().message;
}

// Every record of `acknowledged` (index -> id) is there, unchanged.
void expect_all(const std::string& dir, const std::map<uint64_t, std::string>& acknowledged) {
  auto reader = Reader::open(dir);
  ASSERT_OK(reader);
  for (const auto& [index, id] : acknowledged) {
    auto record = reader.value()->read(index);
    ASSERT_OK(record);
    ASSERT_EQ(record.value().id(), id) << index;
  }
}

std::map<uint64_t, std::string> ids_of(const std::string& dir, uint64_t count) {
  std::map<uint64_t, std::string> ids;
  auto reader = Reader::open(dir);
  for (uint64_t i = 0; i < count; i++) ids[i] = reader.value()->read(i).value().id();
  return ids;
}

// A trail as a dead daemon leaves it: two published records, then a batch that was not published.
struct DeadTrail {
  std::string dir, segment, bytes;
  size_t published_end = 0;  // of the segment when the first two were published
};

void build_dead_trail(const std::string& dir, DeadTrail& dead) {
  dead.dir = dir;
  ASSERT_OK(write_records(options_of(dir), 0, 2));
  dead.segment = dir + "/" + SegmentName{0, 0}.path();
  dead.published_end = load(dead.segment).size();
  std::string kept = dir + ".kept";
  copy_tree(dir, kept);
  ASSERT_OK(write_singly(options_of(dir), 2, 1));
  std::string all = load(dead.segment);
  copy_tree(kept, dir);
  // Without the checkpoint frame at the end: what stands after the commit's fdatasync.
  size_t last = all.rfind("ITFR");
  dead.bytes = all.substr(0, last);
}

void recover_and_check(const DeadTrail& dead, const std::string& bytes, const std::string& label,
                       bool torn) {
  std::string dir = dead.dir + ".run";
  copy_tree(dead.dir, dir);
  store(dir + "/" + SegmentName{0, 0}.path(), bytes);
  auto before = ids_of(dead.dir, 2);
  auto dead_report = verify_trail(dir);
  ASSERT_TRUE(dead_report.ok()) << label << ": " << dead_report.error().message;
  EXPECT_EQ(dead_report.value().torn_tail.empty(), !torn) << label;
  ASSERT_OK(write_records(options_of(dir), 50, 1));
  ASSERT_EQ(why(dir), "verified") << label;
  expect_all(dir, before);
  auto reader = Reader::open(dir);
  EXPECT_EQ(reader.value()->size().value(), 4u) << label;  // 2 + the recovery or the record + 1
  auto third = reader.value()->read(2);
  ASSERT_OK(third);
  EXPECT_EQ(third.value().kind(), torn ? "recovery" : "exchange") << label;
  if (!torn) return;
  EXPECT_EQ(third.value().event().facts().at("segment"), (SegmentName{0, 0}.path()));
}

TEST(Crash, ATailCutAtEveryByteIsSealedAndNamedAndNothingAcknowledgedIsLost) {
  TempDir temp;
  DeadTrail dead;
  build_dead_trail(temp.trail(), dead);
  for (size_t cut = dead.published_end + 1; cut < dead.bytes.size(); cut++) {
    recover_and_check(dead, dead.bytes.substr(0, cut), "cut " + std::to_string(cut), true);
    if (HasFatalFailure()) return;
  }
  recover_and_check(dead, dead.bytes, "whole", false);
}

TEST(Crash, ATailGarbledAtEveryByteIsSealedAndNamedAndNothingAcknowledgedIsLost) {
  TempDir temp;
  DeadTrail dead;
  build_dead_trail(temp.trail(), dead);
  for (size_t at = dead.published_end; at < dead.bytes.size(); at++) {
    std::string bad = dead.bytes;
    bad[at] = static_cast<char>(bad[at] ^ 0x55);
    recover_and_check(dead, bad, "garbled " + std::to_string(at), true);
    if (HasFatalFailure()) return;
  }
}

TEST(Crash, DamageToAnAcknowledgedEntryIsNotTakenForATornTail) {
  TempDir temp;
  DeadTrail dead;
  build_dead_trail(temp.trail(), dead);
  // Another commit follows the damaged one: it was acknowledged before that was written.
  store(dead.segment, dead.bytes);
  ASSERT_OK(write_singly(options_of(temp.trail()), 3, 2));
  std::string all = load(dead.segment);
  all[dead.published_end + 70] ^= 1;
  store(dead.segment, all);
  store(temp.trail() + "/checkpoint", load(temp.trail() + ".kept/checkpoint"));
  auto writer = TrailWriter::open(options_of(temp.trail()));
  ASSERT_FALSE(writer.ok());
  EXPECT_NE(writer.error().message.find("entry 2"), std::string::npos) << writer.error().message;
}

// Runs a writer over the disk; what it acknowledged is in `acknowledged`, also when it failed.
void run_over(FailingDisk& disk, const std::string& dir, uint64_t first,
              std::map<uint64_t, std::string>& acknowledged, uint64_t& taken) {
  TrailOptions options = options_of(dir);
  options.files = disk.ops();
  options.segment_bytes = 700;
  options.checkpoint_interval = std::chrono::milliseconds(0);
  options.on_sequenced = [&](uint64_t index, const std::string& id) { acknowledged[index] = id; };
  auto writer = TrailWriter::open(options);
  if (!writer.ok()) return;
  // append_durable() waits for as long as the disk is full: only for one that gets well.
  for (uint64_t i = first; i < first + 4; i++)
    taken += disk.count > 1 ? writer.value()->append(make_record(i)).ok()
                            : writer.value()->append_durable(make_record(i)).ok();
  Status closed = writer.value()->close();
  EXPECT_TRUE(closed.ok() || disk.count > 1) << closed.error().message;
}

void fail_everywhere(int error, bool torn, int count) {
  TempDir temp;
  int total;
  {
    FailingDisk disk;
    std::map<uint64_t, std::string> acknowledged;
    uint64_t taken = 0;
    run_over(disk, temp.path() + "/count", 0, acknowledged, taken);
    ASSERT_EQ(taken, 4u);
    total = disk.calls;
  }
  ASSERT_GT(total, 60);
  for (int i = 0; i < total; i++) {
    std::string dir = temp.path() + "/run" + std::to_string(i);
    FailingDisk disk;
    disk.first = i, disk.count = count, disk.error = error, disk.torn = torn;
    std::map<uint64_t, std::string> acknowledged;
    uint64_t taken = 0;
    run_over(disk, dir, 0, acknowledged, taken);
    // Now the disk is well again; what was acknowledged is there, and so is everything that
    // follows.
    FailingDisk well;
    uint64_t more = 0;
    run_over(well, dir, 10, acknowledged, more);
    ASSERT_EQ(more, 4u) << "call " << i;
    ASSERT_EQ(why(dir), "verified") << "call " << i;
    expect_all(dir, acknowledged);
    if (::testing::Test::HasFatalFailure()) FAIL() << "call " << i;
    std::filesystem::remove_all(dir);
  }
}

TEST(Crash, OneFailingCallAnywhereLosesNothing) {
  fail_everywhere(EIO, false, 1);
}
TEST(Crash, OneTornWriteAnywhereLosesNothing) {
  fail_everywhere(ENOSPC, true, 1);
}
TEST(Crash, ADiskThatStaysFullFromAnyCallOnLosesNothingAcknowledged) {
  TempDir temp;
  for (int i = 0; i < 60; i += 3) {
    std::string dir = temp.path() + "/run" + std::to_string(i);
    FailingDisk disk;
    disk.first = i, disk.count = 1 << 30, disk.error = ENOSPC, disk.torn = true;
    std::map<uint64_t, std::string> acknowledged;
    uint64_t taken = 0;
    run_over(disk, dir, 0, acknowledged, taken);
    std::set<std::string> entries;  // by id: an index is given once only
    for (const auto& [index, id] : acknowledged)
      EXPECT_TRUE(entries.insert(id).second) << "call " << i;
    FailingDisk well;
    uint64_t more = 0;
    run_over(well, dir, 10, acknowledged, more);
    ASSERT_EQ(more, 4u) << "call " << i;
    ASSERT_EQ(why(dir), "verified") << "call " << i;
    expect_all(dir, acknowledged);
  }
}

TEST(Crash, WhatWaitsForAFullDiskIsWrittenWhenThereIsRoomAgain) {
  TempDir temp;
  FailingDisk disk;
  TrailOptions options = options_of(temp.trail());
  options.files = disk.ops();
  auto writer = TrailWriter::open(options);
  ASSERT_OK(writer);
  disk.error = ENOSPC, disk.count = 1 << 30, disk.first = disk.calls;
  for (uint64_t i = 0; i < 20; i++) ASSERT_OK(writer.value()->append(make_record(i)));
  while (writer.value()->stats().write_failures < 3)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(writer.value()->stats().size, 0u);
  EXPECT_NE(writer.value()->stats().last_error.find("No space left"), std::string::npos);
  disk.count = 0;
  ASSERT_OK(writer.value()->close());
  auto reader = Reader::open(temp.trail());
  auto all = reader.value()->query(LogQuery());
  ASSERT_OK(all);
  uint64_t next = 0;
  for (const Record& record : all.value()) {
    if (record.kind() == "exchange") {
      EXPECT_EQ(record.inference().output_text(), text_of(next++));
    }
  }
  EXPECT_EQ(next, 20u);
  EXPECT_EQ(why(temp.trail()), "verified");
}

TEST(Crash, CloseSaysWhatItCouldNotWrite) {
  TempDir temp;
  FailingDisk disk;
  TrailOptions options = options_of(temp.trail());
  options.files = disk.ops();
  options.close_patience = std::chrono::milliseconds(20);
  auto writer = TrailWriter::open(options);
  ASSERT_OK(writer);
  disk.count = 1 << 30, disk.first = disk.calls;
  for (uint64_t i = 0; i < 3; i++) ASSERT_OK(writer.value()->append(make_record(i)));
  Status closed = writer.value()->close();
  ASSERT_FALSE(closed.ok());
  EXPECT_NE(closed.error().message.find("3 records could not be written"), std::string::npos);
}

// The child writes until it dies and reports each acknowledged index and id through the pipe.
[[noreturn]] void write_until_killed(const std::string& dir, int pipe) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  TrailOptions options = options_of(dir);
  options.segment_bytes = 60000;
  options.checkpoint_interval = std::chrono::milliseconds(2);
  options.on_sequenced = [pipe](uint64_t index, const std::string& id) {
    std::string line = std::to_string(index) + " " + id + "\n";
    if (::write(pipe, line.data(), line.size()) != static_cast<ssize_t>(line.size())) ::_exit(3);
  };
  auto writer = TrailWriter::open(options);
  if (!writer.ok()) {
    std::fprintf(stderr, "%s\n", writer.error().message.c_str());
    ::_exit(2);
  }
  for (uint64_t i = 0;; i++)
    if (!writer.value()->append(make_record(i, i % 300)).ok()) ::_exit(4);
}

TEST(Crash, Kill9UnderLoadThirtyTimesLosesAndChangesNothingAcknowledged) {
  TempDir temp;
  std::map<uint64_t, std::string> acknowledged;
  for (int run = 0; run < 30; run++) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(pipe[0]);
      write_until_killed(temp.trail(), pipe[1]);
    }
    ::close(pipe[1]);
    std::string text, block(65536, '\0');
    ssize_t got;
    size_t lines = 0, wanted = 20 + static_cast<size_t>(run) * 37 % 400;
    while ((got = ::read(pipe[0], block.data(), block.size())) > 0) {
      text.append(block.data(), static_cast<size_t>(got));
      lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
      if (lines >= wanted) ::kill(child, SIGKILL);
    }
    ::close(pipe[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "run " << run << " status " << status;
    size_t at = 0;
    for (size_t end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
      size_t space = text.find(' ', at);
      uint64_t index = std::stoull(text.substr(at, space - at));
      EXPECT_TRUE(acknowledged.emplace(index, text.substr(space + 1, end - space - 1)).second)
          << index;
    }
    ASSERT_EQ(why(temp.trail()), "verified") << "run " << run;
    expect_all(temp.trail(), acknowledged);
    if (HasFatalFailure()) return;
  }
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 1));
  EXPECT_EQ(why(temp.trail()), "verified");
  expect_all(temp.trail(), acknowledged);
  EXPECT_GT(acknowledged.size(), 1000u);
}

}  // namespace
}  // namespace infertrail::trail
