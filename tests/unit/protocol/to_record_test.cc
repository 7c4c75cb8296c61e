#include "protocol/to_record.h"

#include <gtest/gtest.h>

namespace infertrail {
namespace {

Exchange exchange() {
  Exchange from;
  from.number = 3;
  from.has_request = from.has_response = from.complete = true;
  from.method = "GET";
  from.target = "/x\xff";
  from.status = 200;
  from.request_first_ns = 5'000'000'000;
  from.request_last_ns = 5'100'000'000;
  from.response_first_ns = 5'250'000'000;
  from.response_last_ns = 6'000'000'001;
  from.response.raw = "a\xff";
  from.response.has_sha256 = true;
  from.response.sha256[0] = 0xab;
  return from;
}

TEST(ToRecord, FillsTimes) {
  Record record;
  fill_record(exchange(), true, &record);
  EXPECT_EQ(5, record.time().seconds());
  EXPECT_EQ(6, record.end_time().seconds());
  EXPECT_EQ(1, record.end_time().nanos());
  EXPECT_EQ(1000u, record.duration_ms());
  EXPECT_EQ(250u, record.first_byte_ms());
}

TEST(ToRecord, BytesThatAreNoTextGoToBinaryAndNamesAreEscaped) {
  Record record;
  fill_record(exchange(), true, &record);
  EXPECT_EQ("/x\\xff", record.http().path());
  EXPECT_EQ("", record.response().body());
  EXPECT_EQ("a\xff", record.response().body_binary());
}

TEST(ToRecord, DigestsAreLeftOutWhenTheyAreOff) {
  Record with, without;
  fill_record(exchange(), true, &with);
  fill_record(exchange(), false, &without);
  EXPECT_EQ("ab", with.response().sha256().substr(0, 2));
  EXPECT_EQ(64u, with.response().sha256().size());
  EXPECT_EQ("", without.response().sha256());
}

TEST(ToRecord, GapsKeepTheirSideReasonAndNote) {
  Exchange from = exchange();
  from.complete = false;
  from.gaps.push_back({{Direction::kToClient, 3, 9, GapReason::kFault, 1}, "why"});
  Record record;
  fill_record(from, true, &record);
  EXPECT_FALSE(record.complete());
  EXPECT_EQ("response", record.gaps(0).direction());
  EXPECT_EQ(3u, record.gaps(0).from());
  EXPECT_EQ(9u, record.gaps(0).to());
  EXPECT_EQ("fault", record.gaps(0).reason());
  EXPECT_EQ("why", record.gaps(0).note());
}

TEST(ToRecord, AnAnswerAloneBeginsWithTheAnswer) {
  Exchange from = exchange();
  from.request_first_ns = from.request_last_ns = 0;
  Record record;
  fill_record(from, true, &record);
  EXPECT_EQ(250'000'000, record.time().nanos());
  EXPECT_EQ(0u, record.first_byte_ms());
}

}  // namespace
}  // namespace infertrail
