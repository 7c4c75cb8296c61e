#include "stream/connection.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace infertrail {
namespace {

// Writes what it gets as "abc" for data and "[from-to reason]" for gaps, per direction.
class Tape : public StreamSink {
 public:
  void data(const Chunk& chunk) override {
    EXPECT_EQ(position[index(chunk.direction)], chunk.offset);
    position[index(chunk.direction)] += chunk.bytes.size();
    text[index(chunk.direction)] += chunk.bytes;
  }
  void gap(const StreamGap& gap) override {
    EXPECT_EQ(position[index(gap.direction)], gap.from);
    position[index(gap.direction)] = gap.to;
    std::string end = gap.to == UINT64_MAX ? "end" : std::to_string(gap.to);
    text[index(gap.direction)] +=
        "[" + std::to_string(gap.from) + "-" + end + " " + gap_reason_name(gap.reason) + "]";
  }
  static size_t index(Direction direction) { return static_cast<size_t>(direction); }
  std::string text[2];
  uint64_t position[2] = {0, 0};
};

constexpr Direction kUp = Direction::kToServer, kDown = Direction::kToClient;

class ConnectionTest : public testing::Test {
 protected:
  void add(uint64_t offset, std::string_view bytes, uint64_t time = 1) {
    connection.add({kUp, offset, time, bytes});
  }
  Tape tape;
  Connection connection{tape, {.held_bytes = 16, .hole_timeout_ns = 100}};
};

TEST_F(ConnectionTest, GivesEachByteOnceHoweverOftenItComes) {
  add(0, "abc");
  add(0, "abc");
  add(1, "bcde");
  add(4, "efg");
  EXPECT_EQ("abcdefg", tape.text[0]);
  EXPECT_EQ(0u, connection.held_bytes());
}

TEST_F(ConnectionTest, HoldsWhatComesEarlyAndGivesItInOrder) {
  add(6, "gh");
  add(2, "cd");
  EXPECT_EQ("", tape.text[0]);
  EXPECT_EQ(4u, connection.held_bytes());
  add(1, "bcdefg");  // overlaps both held pieces
  add(0, "a");
  EXPECT_EQ("abcdefgh", tape.text[0]);
  EXPECT_EQ(8u, connection.position(kUp));
}

TEST_F(ConnectionTest, DirectionsDoNotWaitForEachOther) {
  add(1, "b");
  connection.add({kDown, 0, 1, "xyz"});
  EXPECT_EQ("", tape.text[0]);
  EXPECT_EQ("xyz", tape.text[1]);
}

TEST_F(ConnectionTest, NamesADeclaredHoleWithItsReasonAndExactRange) {
  add(0, "ab");
  connection.missing(kUp, 2, 5, GapReason::kRingFull);
  add(5, "f");
  EXPECT_EQ("ab[2-5 ring_full]f", tape.text[0]);
}

TEST_F(ConnectionTest, OnlyTheDeclaredPartOfAHoleHasTheReason) {
  connection.missing(kUp, 4, 6, GapReason::kFault);
  add(8, "i");
  connection.close(9);
  EXPECT_EQ("[0-4 lost_segment][4-6 fault][6-8 lost_segment]i", tape.text[0]);
}

TEST_F(ConnectionTest, BytesThatArrivedInsideADeclaredRangeStillCount) {
  add(3, "de");
  connection.missing(kUp, 0, 8, GapReason::kRingFull);
  EXPECT_EQ("[0-3 ring_full]de[5-8 ring_full]", tape.text[0]);
}

TEST_F(ConnectionTest, OverlappingDeclarationsLeaveNothingUnnamed) {
  connection.missing(kUp, 2, 4, GapReason::kRingFull);
  connection.missing(kUp, 2, 7, GapReason::kFault);
  connection.missing(kUp, 3, 5, GapReason::kProbeMissed);
  add(0, "ab");
  add(7, "h");
  EXPECT_EQ("ab[2-4 ring_full][4-5 probe_missed][5-7 fault]h", tape.text[0]);
}

TEST_F(ConnectionTest, AHoleWithoutKnownEndEndsWhereBytesGoOnOrAtTheEnd) {
  connection.missing(kUp, 0, UINT64_MAX, GapReason::kDaemonDown);
  EXPECT_EQ("", tape.text[0]);
  add(5, "f");
  EXPECT_EQ("[0-5 daemon_down]f", tape.text[0]);
  connection.close(9);
  EXPECT_EQ("[0-5 daemon_down]f[6-end daemon_down]", tape.text[0]);
}

TEST_F(ConnectionTest, AHoleBecomesLostWhenTooMuchIsHeldBehindIt) {
  add(3, "0123456789abcdef");
  EXPECT_EQ("", tape.text[0]);
  add(30, "x");
  EXPECT_EQ("[0-3 lost_segment]0123456789abcdef", tape.text[0]);
  EXPECT_EQ(1u, connection.held_bytes());
}

TEST_F(ConnectionTest, AHoleBecomesLostWhenItIsOld) {
  add(3, "d", 1000);
  connection.tick(1099);
  EXPECT_EQ("", tape.text[0]);
  connection.tick(1100);
  EXPECT_EQ("[0-3 lost_segment]d", tape.text[0]);
  add(0, "abc", 1101);  // too late: the gap stands
  EXPECT_EQ("[0-3 lost_segment]d", tape.text[0]);
}

TEST_F(ConnectionTest, NamesTheUnseenBeginning) {
  connection.start_at(kUp, 4096);
  connection.start_at(kDown, 0);
  add(4096, "x");
  EXPECT_EQ("[0-4096 pre_attach]x", tape.text[0]);
  EXPECT_EQ("", tape.text[1]);
}

TEST_F(ConnectionTest, CloseGivesOutEverythingHeld) {
  add(2, "c");
  add(5, "f");
  connection.close(7);
  EXPECT_EQ("[0-2 lost_segment]c[3-5 lost_segment]f", tape.text[0]);
  EXPECT_EQ(0u, connection.held_bytes());
}

TEST_F(ConnectionTest, OffsetsAtTheEdgeOf64BitsDoNotWrap) {
  add(UINT64_MAX - 2, "abcdef");
  add(UINT64_MAX, "x");
  connection.close(7);
  EXPECT_EQ(std::string("[0-18446744073709551613 lost_segment]a"), tape.text[0]);
}

}  // namespace
}  // namespace infertrail
