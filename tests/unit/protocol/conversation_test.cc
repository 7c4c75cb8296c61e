#include "protocol/conversation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace infertrail {
namespace {

constexpr Direction kUp = Direction::kToServer, kDown = Direction::kToClient;

class ConversationTest : public testing::Test {
 protected:
  void up(const std::string& bytes) { feed(kUp, bytes); }
  void down(const std::string& bytes) { feed(kDown, bytes); }
  void feed(Direction direction, const std::string& bytes) {
    uint64_t& offset = at[static_cast<size_t>(direction)];
    conversation.data({direction, offset, ++now, bytes});
    offset += bytes.size();
  }
  void lose(Direction direction, uint64_t bytes, GapReason reason = GapReason::kRingFull) {
    uint64_t& offset = at[static_cast<size_t>(direction)];
    conversation.gap({direction, offset, offset + bytes, reason, ++now});
    offset += bytes;
  }
  std::vector<Exchange> finish(bool reset = false) {
    conversation.finish(reset, ++now);
    return conversation.take();
  }
  static std::string get(const std::string& path) { return "GET " + path + " HTTP/1.1\r\n\r\n"; }
  static std::string ok(const std::string& body) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  Conversation conversation{{.max_body_bytes = 4u << 20, .digests = true}};
  uint64_t at[2] = {0, 0}, now = 1000;
};

TEST_F(ConversationTest, AHoleInsideABodyOfKnownLengthIsSteppedOverExactly) {
  up(get("/a"));
  down("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n012");
  lose(kDown, 4);
  down("789");
  up(get("/b"));
  down(ok("B"));
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_FALSE(got[0].complete);
  EXPECT_EQ("012789", got[0].response.raw);
  EXPECT_EQ(6u, got[0].response.bytes);
  EXPECT_FALSE(got[0].response.has_sha256);
  ASSERT_EQ(1u, got[0].gaps.size());
  EXPECT_EQ(42u, got[0].gaps[0].gap.from);
  EXPECT_EQ(46u, got[0].gaps[0].gap.to);
  EXPECT_TRUE(got[1].complete);
  EXPECT_EQ("B", got[1].response.raw);
}

TEST_F(ConversationTest, AHoleThatEndsWithTheBodyKeepsTheNextMessageInStep) {
  up("POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n");
  lose(kUp, 4);
  up(get("/b"));
  down(ok("A") + ok("B"));
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_FALSE(got[0].complete);
  EXPECT_EQ("A", got[0].response.raw);
  EXPECT_TRUE(got[1].complete);
}

TEST_F(ConversationTest, AHoleInsideOneChunkIsSteppedOver) {
  up(get("/a"));
  down("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01");
  lose(kDown, 5);
  down("7\r\n2\r\nab\r\n0\r\n\r\n");
  auto got = finish();
  ASSERT_EQ(1u, got.size());
  EXPECT_EQ("017ab", got[0].response.raw);
  EXPECT_FALSE(got[0].complete);
}

TEST_F(ConversationTest, AHoleOverAChunkBoundaryEndsTheMessagesOfThatDirectionOnly) {
  up(get("/a"));
  down("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01");
  lose(kDown, 9);
  down(ok("looks like an answer but proves nothing"));
  up(get("/b"));
  auto got = finish();
  ASSERT_EQ(3u, got.size());
  EXPECT_EQ("/a", got[0].target);
  EXPECT_EQ("01", got[0].response.raw);
  EXPECT_EQ(1u, got[0].gaps.size());
  EXPECT_EQ("/b", got[1].target);
  EXPECT_FALSE(got[1].has_response);
  ASSERT_EQ(1u, got[1].gaps.size());
  EXPECT_EQ(GapReason::kRingFull, got[1].gaps[0].gap.reason);
  EXPECT_TRUE(got[2].undecoded);
  EXPECT_EQ(ok("looks like an answer but proves nothing"), got[2].response.raw);
  EXPECT_EQ(1u, got[2].gaps.size());
}

TEST_F(ConversationTest, AfterALostRequestAnswersAreNotGivenToOthers) {
  up(get("/a"));
  lose(kUp, 30);
  up(get("/c"));
  down(ok("A") + ok("B") + ok("C"));
  auto got = finish();
  ASSERT_EQ(4u, got.size());
  EXPECT_EQ("/a", got[0].target);
  EXPECT_EQ("A", got[0].response.raw);
  EXPECT_TRUE(got[0].complete);
  for (int i : {1, 2}) {
    EXPECT_FALSE(got[i].has_request);
    EXPECT_FALSE(got[i].complete);
    EXPECT_EQ(kUp, got[i].gaps.at(0).gap.direction);
  }
  EXPECT_TRUE(got[3].undecoded);
  EXPECT_EQ(get("/c"), got[3].request.raw);
}

TEST_F(ConversationTest, ALostAnswerLeavesItsRequestWithoutOne) {
  up(get("/a"));
  lose(kDown, 50);
  auto got = finish();
  ASSERT_EQ(1u, got.size());
  EXPECT_EQ("/a", got[0].target);
  EXPECT_FALSE(got[0].complete);
  EXPECT_EQ(50u, got[0].gaps.at(0).gap.to);
}

TEST_F(ConversationTest, AGapAloneIsStillARecord) {
  lose(kUp, 7);
  auto got = finish();
  ASSERT_EQ(1u, got.size());
  EXPECT_TRUE(got[0].undecoded);
  EXPECT_FALSE(got[0].complete);
  EXPECT_EQ(7u, got[0].gaps.at(0).gap.to);
}

TEST_F(ConversationTest, AConnectionOlderThanTheCaptureIsReadFromItsNextRequest) {
  lose(kUp, 5000, GapReason::kPreAttach);
  lose(kDown, 90000, GapReason::kPreAttach);
  up(get("/first"));
  down(ok("1"));
  up(get("/second"));
  down(ok("2"));
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_EQ("/first", got[0].target);
  EXPECT_EQ("1", got[0].response.raw);
  EXPECT_FALSE(got[0].complete);
  EXPECT_EQ(2u, got[0].gaps.size());
  EXPECT_TRUE(got[1].complete);
}

TEST_F(ConversationTest, AnAnswerOlderThanTheRequestIsNotItsAnswer) {
  lose(kUp, 5000, GapReason::kPreAttach);
  lose(kDown, 90000, GapReason::kPreAttach);
  down(ok("of a request never seen"));
  up(get("/mine"));
  down(ok("mine"));
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_FALSE(got[0].has_request);
  EXPECT_EQ("/mine", got[1].target);
  EXPECT_EQ("mine", got[1].response.raw);
}

TEST_F(ConversationTest, Trap11_AConnectionCaughtInsideAnAnswerIsReadFromItsNextRequest) {
  lose(kUp, 5000, GapReason::kPreAttach);
  lose(kDown, 90000, GapReason::kPreAttach);
  down("data: the tail of a stream\n\n");
  up(get("/next"));
  down(ok("next"));
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_TRUE(got[0].undecoded);
  EXPECT_EQ("data: the tail of a stream\n\n", got[0].response.raw);
  EXPECT_EQ(GapReason::kPreAttach, got[0].gaps.at(0).gap.reason);
  EXPECT_EQ("/next", got[1].target);
  EXPECT_EQ("next", got[1].response.raw);
}

TEST_F(ConversationTest, Trap11_InTheMiddleOfARequestBodyTheNextRequestIsFound) {
  conversation.begin_in_the_middle();
  up("the rest of a body that says\nPOST /evil HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
  up("POST /evil HTTP/1.1\r\nContent-Length: 3\r\n\r\n");   // no turn: still that body
  down(ok("of the request that was not seen"));
  up(get("/mi"));
  down(ok("mine"));
  auto got = finish();
  ASSERT_EQ(3u, got.size());
  EXPECT_TRUE(got[0].undecoded);
  EXPECT_FALSE(got[0].complete);
  EXPECT_EQ(1u, got[0].gaps.size());
  EXPECT_FALSE(got[1].has_request);
  EXPECT_EQ("of the request that was not seen", got[1].response.raw);
  EXPECT_EQ("/mi", got[2].target);
  EXPECT_TRUE(got[2].complete);
  EXPECT_EQ("mine", got[2].response.raw);
}

TEST_F(ConversationTest, Trap11_ABeginningMayComeInPieces) {
  conversation.begin_in_the_middle();
  down("tail");
  for (char c : get("/piece")) up(std::string(1, c));
  for (char c : ok("whole")) down(std::string(1, c));
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_EQ("tail", got[0].response.raw);
  EXPECT_EQ("/piece", got[1].target);
  EXPECT_TRUE(got[1].complete);
}

TEST_F(ConversationTest, Trap11_AnAnswerOfAnyLengthDoesNotWaitForARequestThatWasBeforeUs) {
  conversation.begin_in_the_middle();
  down(ok(std::string(3u << 20, 'x')));
  EXPECT_EQ(1u, conversation.take().size());
  up(get("/next"));
  down(ok("next"));
  auto got = finish();
  ASSERT_EQ(1u, got.size());
  EXPECT_TRUE(got[0].complete);
}

// A write is told when it has returned: its answer may have been read by another thread before.
TEST_F(ConversationTest, Trap11_AFirstAnswerThatOvertookItsRequestIsItsAnswer) {
  conversation.begin_in_the_middle();
  down(ok("first"));
  EXPECT_TRUE(conversation.take().empty());
  const std::string request = get("/first");
  conversation.data({kUp, 0, now - 1, request});   // begun before the answer was read
  at[static_cast<size_t>(kUp)] = request.size();
  up(get("/second"));
  down(ok("second"));
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_EQ("/first", got[0].target);
  EXPECT_EQ("first", got[0].response.raw);
  EXPECT_EQ("/second", got[1].target);
  EXPECT_EQ("second", got[1].response.raw);
}

TEST_F(ConversationTest, Trap11_AFirstAnswerWhoseRequestWasBeforeUsGetsNoOther) {
  for (bool waits : {true, false}) {
    Conversation conversation{{.max_body_bytes = 4u << 20}};
    conversation.begin_in_the_middle();
    const std::string answer = ok("first"), request = get("/second"), second = ok("second");
    conversation.data({kDown, 0, 1000, answer});
    if (!waits) {
      conversation.settle(1000);
      EXPECT_TRUE(conversation.take().empty());
      conversation.settle(2'000'001'001);
      EXPECT_EQ(1u, conversation.take().size());
    }
    conversation.data({kUp, 0, 1001, request});
    conversation.data({kDown, answer.size(), 1002, second});
    conversation.finish(false, 1003);
    auto got = conversation.take();
    ASSERT_EQ(waits ? 2u : 1u, got.size());
    EXPECT_EQ("/second", got.back().target);
    EXPECT_EQ("second", got.back().response.raw);
  }
}

// Overtaken in the ring, or because a server may answer before it has read all of a request.
TEST_F(ConversationTest, Trap11_TheEndOfARequestBehindAFirstAnswerBeginsNothing) {
  for (bool overtaken : {true, false}) {
    SCOPED_TRACE(overtaken);
    Conversation conversation{{.max_body_bytes = 4u << 20}};
    conversation.begin_in_the_middle();
    const std::string first = ok("nobody's"), end = "end of a body", second = ok("also"), request = get("/next"), third = ok("next");
    conversation.data({kDown, 0, 1000, first});
    conversation.data({kUp, 0, overtaken ? 999u : 1001u, end});
    conversation.data({kDown, first.size(), 1002, second});
    conversation.data({kUp, end.size(), 1003, request});
    conversation.data({kDown, first.size() + second.size(), 1004, third});
    conversation.finish(false, 1005);
    auto got = conversation.take();
    ASSERT_FALSE(got.empty());
    EXPECT_EQ("/next", got.back().target);
    EXPECT_EQ("next", got.back().response.raw);
    for (size_t i = 0; i + 1 < got.size(); i++) EXPECT_EQ("", got[i].target);
  }
}

TEST_F(ConversationTest, Trap11_AnInterimAnswerIsNoBeginning) {
  conversation.begin_in_the_middle();
  down("HTTP/1.1 100 Continue\r\n\r\n");
  up("the body that was asked for");
  down(ok("thanks"));
  up(get("/next"));
  down(ok("next"));
  auto got = finish();
  ASSERT_EQ(3u, got.size());
  EXPECT_TRUE(got[0].undecoded);
  EXPECT_EQ("thanks", got[1].response.raw);
  EXPECT_EQ("/next", got[2].target);
  EXPECT_TRUE(got[2].complete);
}

TEST_F(ConversationTest, Trap11_InTheMiddleOfAnotherProtocolEverythingIsUndecoded) {
  conversation.begin_in_the_middle();
  for (int i = 0; i < 10; i++) {
    up(std::string("\x00\x01question", 10));
    down(std::string("\x00\x02reply", 7));
  }
  auto got = finish();
  ASSERT_EQ(1u, got.size());
  EXPECT_EQ(100u, got[0].request.raw.size());
  EXPECT_EQ(70u, got[0].response.raw.size());
  EXPECT_FALSE(got[0].complete);
}

TEST_F(ConversationTest, UndecodedBytesAreCutIntoPartsAndNoneIsMissing) {
  std::string all;
  for (int i = 0; i < 40; i++) {
    std::string bytes(100'000, static_cast<char>('a' + i % 26));
    up("\x01" + bytes);
    all += "\x01" + bytes;
    EXPECT_LT(conversation.memory_bytes(), 16u << 20);
  }
  std::string got;
  auto parts = finish();
  EXPECT_EQ(4u, parts.size());
  for (size_t i = 0; i < parts.size(); i++) {
    EXPECT_EQ(i + 1, parts[i].number);
    EXPECT_LE(parts[i].request.raw.size(), 1u << 20);
    EXPECT_TRUE(parts[i].complete);
    got += parts[i].request.raw;
  }
  EXPECT_TRUE(got == all);
}

TEST_F(ConversationTest, AHeadWithoutEndIsBoundedAndGivenBack) {
  up("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 300; i++) up("X: " + std::string(1000, 'x') + "\r\n");
  auto got = finish();
  ASSERT_EQ(1u, got.size());
  EXPECT_TRUE(got[0].undecoded);
  EXPECT_EQ(at[0], got[0].request.bytes);
  EXPECT_EQ("head longer than 256 KiB", got[0].notes.at(0));
}

TEST_F(ConversationTest, BytesBehindAnUpgradeThatIsNeverAnsweredAreKept) {
  up("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
  for (int i = 0; i < 12; i++) up(std::string(100'000, 'f'));
  auto got = finish();
  uint64_t undecoded = 0;
  for (const Exchange& exchange : got)
    if (exchange.undecoded) undecoded += exchange.request.bytes;
  EXPECT_EQ(1'200'000u, undecoded);
}

TEST_F(ConversationTest, TheAnswerOfAnOlderRequestDoesNotDecideAnUpgrade) {
  up(get("/a"));
  up("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
  up(get("/is-a-frame"));
  down(ok("A"));
  down("HTTP/1.1 101 Switching Protocols\r\n\r\nframe");
  auto got = finish();
  ASSERT_EQ(3u, got.size());
  EXPECT_EQ("A", got[0].response.raw);
  EXPECT_EQ(101u, got[1].status);
  EXPECT_TRUE(got[2].undecoded);
  EXPECT_EQ(get("/is-a-frame"), got[2].request.raw);
  EXPECT_EQ("frame", got[2].response.raw);
}

TEST_F(ConversationTest, GivingUpRecordsWhatIsOpenAndWhatStillComes) {
  up("POST /big HTTP/1.1\r\nContent-Length: 100\r\n\r\n0123456789");
  EXPECT_GT(conversation.memory_bytes(), 10u);
  conversation.give_up(++now);
  up("more");
  auto got = finish();
  ASSERT_EQ(2u, got.size());
  EXPECT_EQ("/big", got[0].target);
  EXPECT_EQ("0123456789", got[0].request.raw);
  EXPECT_FALSE(got[0].complete);
  EXPECT_EQ(GapReason::kMemoryLimit, got[0].gaps.at(0).gap.reason);
  EXPECT_TRUE(got[1].undecoded);
  EXPECT_EQ("more", got[1].request.raw);
}

TEST_F(ConversationTest, RequestsWithoutAnswersDoNotGrowWithoutBound) {
  for (int i = 0; i < 3000; i++) up(get("/" + std::to_string(i)));
  auto got = conversation.take();
  ASSERT_GT(got.size(), 1000u);
  EXPECT_EQ("/0", got[0].target);
  EXPECT_FALSE(got[0].complete);
  uint64_t rest = 0;
  for (const Exchange& exchange : finish()) rest += exchange.request.bytes;
  EXPECT_GT(rest, 0u);
}

TEST_F(ConversationTest, DigestsCoverAllFramedBytesAndCanBeOff) {
  up(get("/a"));
  down("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n");
  auto got = finish();
  EXPECT_EQ(0xba, got.at(0).response.sha256[0]);  // sha256("abc") = ba7816bf…
  EXPECT_EQ(0xad, got.at(0).response.sha256[31]);
  Conversation off({.max_body_bytes = 100, .digests = false});
  off.data({kUp, 0, 1, "GET / HTTP/1.1\r\n\r\n"});
  off.finish(false, 2);
  EXPECT_FALSE(off.take().at(0).request.has_sha256);
}

TEST_F(ConversationTest, OneByteAtATimeCostsAStepPerByte) {
  std::string body(2'000'000, 'x'), answer = ok(body);
  up(get("/a"));
  auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < answer.size(); i++)
    conversation.data({kDown, i, ++now, std::string_view(answer).substr(i, 1)});
  auto took = std::chrono::steady_clock::now() - begin;
  auto got = finish();
  ASSERT_EQ(1u, got.size());
  EXPECT_TRUE(got[0].complete);
  // Generous: a quadratic step would take hours, not seconds.
  EXPECT_LT(std::chrono::duration_cast<std::chrono::seconds>(took).count(), 20);
}

TEST_F(ConversationTest, NothingSaidIsNoExchange) {
  EXPECT_TRUE(finish().empty());
}

}  // namespace
}  // namespace infertrail
