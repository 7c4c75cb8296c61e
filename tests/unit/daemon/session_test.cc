#include "daemon/session.h"

#include <gtest/gtest.h>

namespace infertrail {
namespace {

constexpr char kRequest[] = "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
constexpr char kAnswer[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue";
constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 1'700'000'000 * kSecond;

StreamFacts flow(uint8_t role) {
  StreamFacts facts;
  facts.role = role;
  facts.flow.set_client("10.0.0.1:4000");
  facts.flow.set_server("10.0.0.2:443");
  facts.flow.set_bind("fp_egress");
  facts.process.set_comm("listener");
  return facts;
}

StreamFacts object() {   // what is known of a TLS object when it opens
  StreamFacts facts;
  facts.flow.set_bind("unresolved");
  facts.process.set_comm("own");
  return facts;
}

class SessionTest : public testing::Test {
 protected:
  explicit SessionTest(bool tls = true) : session_({7, tls}, SessionLimits(), kNow) {}

  void data(uint8_t side, std::string_view bytes, uint64_t time = kNow) {
    StreamMessage message;
    message.side = side;
    message.offset = at_[side];
    message.bytes = bytes;
    message.time_ns = time;
    at_[side] += bytes.size();
    session_.data(std::move(message));
  }
  void loss(uint8_t side, uint64_t to, GapReason reason) {
    StreamMessage message;
    message.kind = StreamMessage::Kind::kLoss;
    message.side = side;
    message.offset = at_[side];
    message.end[0] = to;
    message.reason = reason;
    message.time_ns = kNow;
    at_[side] = to;
    session_.loss(message);
  }
  void close(bool known = true, uint64_t in_more = 0) {
    StreamMessage message;
    message.kind = StreamMessage::Kind::kClose;
    message.end[IT_IN] = at_[IT_IN] + in_more;
    message.end[IT_OUT] = at_[IT_OUT];
    message.ends_known = known;
    message.time_ns = kNow;
    session_.close(message);
  }
  Exchange only(uint64_t now = kNow) {
    auto taken = session_.take(now);
    EXPECT_EQ(1u, taken.size());
    return taken.empty() ? Exchange() : std::move(taken[0]);
  }

  Session session_;
  uint64_t at_[2] = {0, 0};
};

class PlainSessionTest : public SessionTest {
 protected:
  PlainSessionTest() : SessionTest(false) {}
};

TEST_F(SessionTest, TheRoleComesFromTheSocket) {
  session_.open(object());
  data(IT_IN, kRequest);
  data(IT_OUT, kAnswer);
  EXPECT_TRUE(session_.take(kNow).empty()) << "nobody knows yet who is the server";
  session_.bind(flow(IT_ROLE_SERVER));
  Exchange exchange = only();
  EXPECT_EQ("POST", exchange.method);
  EXPECT_EQ(200u, exchange.status);
  EXPECT_TRUE(exchange.complete);
  EXPECT_EQ("10.0.0.1:4000", session_.facts().flow.client());
  EXPECT_EQ("fp_egress", session_.facts().flow.bind());
  EXPECT_EQ("own", session_.facts().process.comm()) << "the object's process, not the listener";
  EXPECT_TRUE(session_.facts().flow.tls());
}

TEST_F(SessionTest, AClientWritesItsRequests) {
  session_.open(object());
  session_.bind(flow(IT_ROLE_CLIENT));
  data(IT_OUT, kRequest);
  data(IT_IN, kAnswer);
  EXPECT_EQ("/v1/x", only().target);
}

TEST_F(SessionTest, TheFirstBindStays) {
  session_.bind(flow(IT_ROLE_CLIENT));
  StreamFacts second = flow(IT_ROLE_SERVER);
  second.flow.set_client("6.6.6.6:6");
  session_.bind(second);
  EXPECT_EQ(IT_ROLE_CLIENT, session_.facts().role);
  EXPECT_EQ("10.0.0.1:4000", session_.facts().flow.client());
}

TEST_F(SessionTest, ABindMayComeBeforeTheOpening) {
  session_.bind(flow(IT_ROLE_SERVER));
  session_.open(object());
  EXPECT_EQ("fp_egress", session_.facts().flow.bind());
  EXPECT_EQ(IT_ROLE_SERVER, session_.facts().role);
}

TEST_F(SessionTest, WhoSendsARequestIsTheClientWhenNoSocketIsKnown) {
  session_.open(object());
  data(IT_OUT, kRequest);
  data(IT_IN, kAnswer);
  session_.tick(kNow + kSecond);
  EXPECT_EQ(IT_ROLE_UNKNOWN, session_.facts().role);
  session_.tick(kNow + 3 * kSecond);
  EXPECT_EQ(IT_ROLE_CLIENT, session_.facts().role);
  EXPECT_EQ("called", session_.facts().flow.direction());
  EXPECT_TRUE(session_.take(kNow + 4 * kSecond).empty()) << "its socket may still be told";
  EXPECT_EQ("POST", only(kNow + 6 * kSecond).method);
  EXPECT_EQ("unresolved", session_.facts().flow.bind());
}

TEST_F(SessionTest, ASniffedServer) {
  session_.open(object());
  data(IT_IN, kRequest);
  data(IT_OUT, kAnswer);
  session_.tick(kNow + 3 * kSecond);
  EXPECT_EQ(IT_ROLE_SERVER, session_.facts().role);
  EXPECT_EQ("served", session_.facts().flow.direction());
}

TEST_F(SessionTest, AFinishedExchangeThatWaitedGetsItsSocketAfterAll) {
  session_.open(object());
  data(IT_IN, kRequest);
  data(IT_OUT, kAnswer);
  session_.tick(kNow + 3 * kSecond);
  EXPECT_TRUE(session_.take(kNow + 3 * kSecond).empty());
  session_.bind(flow(IT_ROLE_SERVER));
  EXPECT_EQ(200u, only(kNow + 3 * kSecond).status);
  EXPECT_EQ("fp_egress", session_.facts().flow.bind());
}

TEST_F(SessionTest, WhatWasFedOneWayIsNotTurnedAroundByALateBind) {
  session_.open(object());
  data(IT_IN, kRequest);
  session_.tick(kNow + 3 * kSecond);
  session_.bind(flow(IT_ROLE_CLIENT));
  EXPECT_EQ(IT_ROLE_SERVER, session_.facts().role);
  data(IT_OUT, kAnswer);
  EXPECT_EQ(200u, only().status);
}

TEST_F(SessionTest, TooMuchWithoutARoleDecidesByItself) {
  session_.open(object());
  data(IT_OUT, kRequest);
  data(IT_IN, std::string(5 << 20, 'x'));
  EXPECT_EQ(IT_ROLE_CLIENT, session_.facts().role);
}

TEST_F(SessionTest, ClosedWithoutASocketIsRecordedAtOnce) {
  session_.open(object());
  data(IT_IN, kRequest);
  data(IT_OUT, kAnswer);
  close();
  EXPECT_TRUE(only().complete);
  EXPECT_EQ("unresolved", session_.facts().flow.bind());
  EXPECT_TRUE(session_.closed());
}

TEST_F(SessionTest, ALossIsAGapOfItsRange) {
  session_.open(object());
  session_.bind(flow(IT_ROLE_SERVER));
  data(IT_IN, "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab");
  const uint64_t from = at_[IT_IN];
  loss(IT_IN, from + 4, GapReason::kFault);
  data(IT_IN, "ghij");
  data(IT_OUT, kAnswer);
  Exchange exchange = only();
  EXPECT_FALSE(exchange.complete);
  ASSERT_EQ(1u, exchange.gaps.size());
  EXPECT_EQ(from, exchange.gaps[0].gap.from);
  EXPECT_EQ(from + 4, exchange.gaps[0].gap.to);
  EXPECT_EQ(GapReason::kFault, exchange.gaps[0].gap.reason);
}

TEST_F(SessionTest, ALossBeforeTheRoleIsKnownIsKept) {
  session_.open(object());
  data(IT_IN, "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab");
  const uint64_t from = at_[IT_IN];
  loss(IT_IN, from + 4, GapReason::kRingFull);
  data(IT_IN, "ghij");
  data(IT_OUT, kAnswer);
  session_.bind(flow(IT_ROLE_SERVER));
  Exchange exchange = only();
  ASSERT_EQ(1u, exchange.gaps.size());
  EXPECT_EQ(from, exchange.gaps[0].gap.from);
  EXPECT_EQ(from + 4, exchange.gaps[0].gap.to);
}

TEST_F(SessionTest, TotalsThatWereNotSeenAreAGap) {
  session_.open(object());
  session_.bind(flow(IT_ROLE_SERVER));
  data(IT_IN, "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nab");
  const uint64_t from = at_[IT_IN];
  close(true, 8);
  Exchange exchange = only();
  EXPECT_FALSE(exchange.complete);
  ASSERT_FALSE(exchange.gaps.empty());
  EXPECT_EQ(from, exchange.gaps[0].gap.from);
  EXPECT_EQ(from + 8, exchange.gaps[0].gap.to);
  EXPECT_EQ(GapReason::kRingFull, exchange.gaps[0].gap.reason);
}

TEST_F(SessionTest, ASecondCloseChangesNothing) {
  session_.bind(flow(IT_ROLE_SERVER));
  data(IT_IN, kRequest);
  data(IT_OUT, kAnswer);
  close();
  close(true, 100);
  EXPECT_TRUE(only().complete);
}

TEST_F(SessionTest, StoppingRecordsWhatIsOpen) {
  session_.open(object());
  session_.bind(flow(IT_ROLE_SERVER));
  data(IT_IN, kRequest);
  session_.stop(kNow + kSecond);
  Exchange exchange = only();
  EXPECT_EQ("POST", exchange.method);
  EXPECT_FALSE(exchange.has_response);
  EXPECT_FALSE(exchange.complete);
  EXPECT_TRUE(session_.closed());
}

TEST_F(SessionTest, GivingUpFreesMemoryAndRecordsTheExchange) {
  session_.open(object());
  data(IT_IN, "POST /v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + std::string(2 << 20, 'x'));
  const size_t before = session_.memory_bytes();
  EXPECT_GT(before, 2u << 20);
  session_.give_up(kNow);
  auto taken = session_.take(kNow + 6 * kSecond);
  ASSERT_EQ(1u, taken.size());
  EXPECT_FALSE(taken[0].complete);
  EXPECT_LT(session_.memory_bytes(), before / 2);
}

TEST_F(PlainSessionTest, IsBoundByItsOpening) {
  StreamFacts facts = flow(IT_ROLE_SERVER);
  facts.flow.set_bind("cgroup_skb");
  session_.open(facts);
  data(IT_IN, kRequest);
  data(IT_OUT, kAnswer);
  EXPECT_TRUE(only().complete);
  EXPECT_EQ("cgroup_skb", session_.facts().flow.bind());
  EXPECT_FALSE(session_.facts().flow.tls());
}

TEST_F(PlainSessionTest, DataMayComeBeforeTheOpening) {
  data(IT_IN, kRequest);
  session_.open(flow(IT_ROLE_SERVER));
  data(IT_OUT, kAnswer);
  EXPECT_TRUE(only().complete);
}

TEST_F(PlainSessionTest, OlderThanTheCaptureBeginsWhereItsFirstByteStands) {
  StreamFacts facts = flow(IT_ROLE_SERVER);
  facts.pre_attach = true;
  session_.open(facts);
  at_[IT_IN] = 5000;
  at_[IT_OUT] = 900;
  data(IT_IN, kRequest);
  data(IT_OUT, kAnswer);
  close();
  Exchange exchange = only();
  EXPECT_EQ("POST", exchange.method);
  EXPECT_EQ(200u, exchange.status);
  for (const ExchangeGap& each : exchange.gaps) EXPECT_EQ(GapReason::kPreAttach, each.gap.reason);
}

TEST_F(PlainSessionTest, OlderThanTheCaptureAndSilentHasNoRingGap) {
  StreamFacts facts = flow(IT_ROLE_SERVER);
  facts.pre_attach = true;
  session_.open(facts);
  at_[IT_IN] = 5000;
  close();
  for (const Exchange& exchange : session_.take(kNow))
    for (const ExchangeGap& each : exchange.gaps) EXPECT_NE(GapReason::kRingFull, each.gap.reason);
}

TEST_F(PlainSessionTest, TheOwnerReplacesTheListener) {
  session_.open(flow(IT_ROLE_SERVER));
  Process worker;
  worker.set_comm("worker");
  session_.owner(worker);
  EXPECT_EQ("worker", session_.facts().process.comm());
}

}  // namespace
}  // namespace infertrail
