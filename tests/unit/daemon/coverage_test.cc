// The coverage ledger, driven by what the kernel would have told.
#include "daemon/coverage.h"

#include <gtest/gtest.h>

namespace infertrail {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kStart = 1'700'000'000 * kSecond;

class CoverageTest : public testing::Test {
 protected:
  // A TLS connection that this host serves, bound to object 7.
  void open(bool bound = true) {
    StreamFacts facts;
    facts.role = IT_ROLE_SERVER;
    facts.flow.set_cookie(1);
    facts.process.set_pid(100);
    coverage_.flow_opened(1, 100, true, facts, kStart);
    if (bound) coverage_.flow_bound(1, 7, 100, facts);
  }
  void wire(uint64_t sealed_in, uint32_t records_in, uint64_t sealed_out, uint32_t records_out, uint8_t state = 0) {
    abi::flow_wire_event event{};
    event.cookie = 1;
    event.sealed[IT_IN] = sealed_in;
    event.sealed[IT_OUT] = sealed_out;
    event.records[IT_IN] = records_in;
    event.records[IT_OUT] = records_out;
    event.end[IT_IN] = sealed_in + 1000;
    event.end[IT_OUT] = sealed_out + 1000;
    event.state = state;
    event.skipped[IT_IN] = skipped_;
    coverage_.flow_wire(event);
  }
  void plain(uint64_t in, uint64_t out) {
    if (in) coverage_.plaintext(7, IT_IN, in);
    if (out) coverage_.plaintext(7, IT_OUT, out);
  }
  // Seconds from the start.
  void at(double seconds) { coverage_.tick(kStart + static_cast<uint64_t>(seconds * 1e9)); }
  void close(double seconds) {
    coverage_.flow_closed(1, false, kStart + static_cast<uint64_t>(seconds * 1e9));
    at(seconds + 2);
  }
  std::string what() const {
    std::string out;
    for (auto& each : found_) out += each.what + " " + each.direction + " " + each.reason + (each.over ? " over;" : ";");
    return out;
  }

  uint64_t skipped_ = 0;
  std::vector<Coverage::Finding> found_;
  Coverage coverage_{[this](const Coverage::Finding& finding) { found_.push_back(finding); }};
};

TEST_F(CoverageTest, WhatIsReadWholeIsSaidToBeRead) {
  open();
  wire(69 + 216, 2, 1800, 4);   // TLS 1.3: Finished; certificate and tickets
  plain(199, 300);
  at(1);
  EXPECT_EQ(1u, coverage_.of(100).read);
  coverage_.object_closed(7, std::array<uint64_t, 2>{199, 300}.data());
  close(2);
  EXPECT_EQ("", what());
  EXPECT_EQ(1u, coverage_.totals().connections.tls);
  EXPECT_EQ(0u, coverage_.totals().connections.dark);
}

TEST_F(CoverageTest, TlsWithoutAnObjectIsToldWithinFiveSecondsAndOnce) {
  open(false);
  at(2.9);
  EXPECT_EQ("", what());
  at(3.2);
  EXPECT_EQ("TLS NOT VISIBLE both tls_not_visible;", what());
  EXPECT_EQ(1u, coverage_.totals().dark_now);
  at(9);
  close(10);
  EXPECT_EQ(1u, found_.size());
  EXPECT_EQ(0u, coverage_.totals().dark_now);
  EXPECT_EQ(1u, coverage_.of(100).dark);
}

TEST_F(CoverageTest, TheEndOfAnAlarmIsTold) {
  open(false);
  at(4);
  StreamFacts facts;
  facts.role = IT_ROLE_SERVER;
  coverage_.flow_bound(1, 7, 100, facts);
  at(5);
  EXPECT_EQ(1u, found_.size()) << "bound, and still nothing was read";
  plain(10, 0);
  at(6);
  ASSERT_EQ(2u, found_.size());
  EXPECT_TRUE(found_[1].over);
  EXPECT_EQ(0u, coverage_.of(100).dark);
  EXPECT_EQ(1u, coverage_.of(100).read);
}

TEST_F(CoverageTest, ABoundObjectThatGivesNothingIsTold) {
  open();
  wire(69, 1, 1800, 4);
  at(4);
  EXPECT_EQ("", what()) << "a handshake and silence: a health check";
  wire(69 + 47, 2, 1800, 4);
  at(5);
  at(7.9);
  EXPECT_EQ("", what());
  at(8.2);
  EXPECT_EQ("TLS NOT VISIBLE both tls_not_visible;", what());
}

TEST_F(CoverageTest, OlderTlsNeedsNoHandshakeRecords) {
  open();
  wire(40, 1, 0, 0, IT_WIRE_OLD_TLS);
  at(1);
  at(5);
  EXPECT_EQ(1u, found_.size());
}

TEST_F(CoverageTest, ASilentConnectionThatEndsEarlyIsToldAtItsEnd) {
  open();
  wire(69 + 47, 2, 1800, 4);
  close(0.2);
  EXPECT_EQ("TLS NOT VISIBLE both tls_not_visible;", what());
}

TEST_F(CoverageTest, AHandshakeThatEndsIsNoFinding) {
  open();
  wire(69 + 19, 1, 1800, 3);   // Finished and an alert
  close(0.2);
  EXPECT_EQ("", what());
}

TEST_F(CoverageTest, CiphertextWithoutPlaintextIsMissing) {
  open();
  wire(500, 2, 1'000'000, 62);
  plain(300, 1000);
  close(1);
  ASSERT_EQ("TLS PLAINTEXT MISSING response unhooked_lib;", what());
  EXPECT_EQ(1000u, found_[0].from);
  EXPECT_EQ(1'000'000u - 62 * 128 - 16384, found_[0].to);
  EXPECT_EQ(1u, coverage_.of(100).incomplete);
}

TEST_F(CoverageTest, WhatTheKernelSkippedIsNamedSo) {
  open();
  coverage_.probes_missed(1);
  wire(500, 2, 1'000'000, 62);
  plain(300, 1000);
  close(1);
  EXPECT_EQ("TLS PLAINTEXT MISSING response probe_missed;", what());
}

TEST_F(CoverageTest, MoreReadThanCameIsAWrongBinding) {
  open();
  wire(500, 2, 4000, 3);
  plain(501, 100);
  close(1);
  EXPECT_EQ("TLS PLAINTEXT OF ANOTHER CONNECTION request bind_conflict;", what());
}

TEST_F(CoverageTest, WrittenAndNeverSentIsNoFinding) {
  open();
  wire(500, 2, 4000, 3);
  plain(300, 1 << 20);
  close(1);
  EXPECT_EQ("", what());
}

TEST_F(CoverageTest, SkippedRecordsExcuseWhatWasRead) {
  open();
  skipped_ = 1000;
  wire(500, 2, 4000, 3, IT_WIRE_LOST_IN);
  plain(1500, 100);
  close(1);
  EXPECT_EQ("", what());
}

TEST_F(CoverageTest, AnOldConnectionIsJudgedByItsBytes) {
  open();
  wire(1000, 0, 1000, 0, IT_WIRE_LATE | IT_WIRE_LOST_IN | IT_WIRE_LOST_OUT);
  at(4);
  EXPECT_EQ("", what());
  wire(200'000, 0, 1000, 0, IT_WIRE_LATE | IT_WIRE_LOST_IN | IT_WIRE_LOST_OUT);
  at(5);
  at(9);
  EXPECT_EQ("TLS NOT VISIBLE both tls_not_visible;", what());
}

TEST_F(CoverageTest, TheProcessThatHasTheObjectIsTheOne) {
  open(false);
  EXPECT_EQ(1u, coverage_.of(100).tls);
  StreamFacts facts;
  facts.role = IT_ROLE_SERVER;
  facts.process.set_pid(101);
  coverage_.flow_bound(1, 7, 101, facts);
  plain(1, 1);
  at(1);
  EXPECT_EQ(0u, coverage_.of(100).tls);
  EXPECT_EQ(1u, coverage_.of(101).read);
  coverage_.process_ended(101);
  EXPECT_EQ(0u, coverage_.of(101).tls);
  EXPECT_EQ(1u, coverage_.totals().connections.read);
}

}  // namespace
}  // namespace infertrail
