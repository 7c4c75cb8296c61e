// Nobody reads: every byte that finds no room is named by stream and range, and counted.
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

class OverflowTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  }
  void open(uint64_t data_bytes, uint64_t control_bytes) {
    ProbeOptions options;
    options.data_ring_bytes = data_bytes;
    options.control_ring_bytes = control_bytes;
    auto opened = Stand::open(options);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    stand_ = std::move(opened.value());
  }
  // All of the exchange happens before the first record is read.
  void exchange(const std::vector<std::string>& server, const std::vector<std::string>& client, bool tls) {
    pair_ = std::make_unique<Pair>(server, client);
    stand_->watch(pair_->server, tls);
    pair_->go();
    pair_->finish();
    for (int i = 0; i < 50; i++) stand_->round();
  }
  LossCount lost(size_t kind) { return stand_->probes().losses()[kind]; }

  std::unique_ptr<Stand> stand_;
  std::unique_ptr<Pair> pair_;
};

void expect_accounted(const Stream& stream, const Told& told) {
  const Half& in = stream.half[IT_IN];
  const Half& out = stream.half[IT_OUT];
  EXPECT_TRUE(stream.closed);
  EXPECT_EQ(told.in, in.seen_bytes() + in.lost_bytes());
  EXPECT_EQ(told.out, out.seen_bytes() + out.lost_bytes());
  EXPECT_EQ(told.in, stream.end[IT_IN]);
  EXPECT_EQ(told.out, stream.end[IT_OUT]);
  EXPECT_FALSE(in.contradiction || out.contradiction);
}

TEST_F(OverflowTest, PlainFlow) {
  open(64 << 10, 8 << 20);
  exchange({}, {"request=8388592", "response=8388608"}, false);
  auto flows = stand_->seen().flows_of(pair_->server.pid());
  ASSERT_EQ(1u, flows.size());
  expect_accounted(flows[0], pair_->server.told()[0]);
  EXPECT_GT(flows[0].half[IT_IN].lost_bytes(), 7u << 20);
  EXPECT_GT(flows[0].half[IT_OUT].lost_bytes(), 7u << 20);
  EXPECT_GT(lost(IT_LOSS_RING_FULL).events, 0u);
  EXPECT_EQ(0u, lost(IT_LOSS_CONTROL_FULL).events);
}

TEST_F(OverflowTest, TlsStream) {
  open(64 << 10, 8 << 20);
  exchange({"tls=1"}, {"tls=1", "request=8388592", "response=8388608", "write_size=50000"}, true);
  auto objects = stand_->seen().objects_of(pair_->server.pid());
  ASSERT_EQ(1u, objects.size());
  expect_accounted(objects[0], pair_->server.told()[0]);
  EXPECT_GT(objects[0].half[IT_IN].lost_bytes(), 7u << 20);
  EXPECT_EQ(0u, lost(IT_LOSS_CONTROL_FULL).events);
  const Stream& stream = objects[0];
  EXPECT_EQ(stream.half[IT_IN].lost_bytes() + stream.half[IT_OUT].lost_bytes(), lost(IT_LOSS_RING_FULL).bytes);
}

TEST_F(OverflowTest, JoinedReadsThatFindNoRoomAreNamedToo) {
  open(4 << 10, 8 << 20);
  exchange({"tls=1", "read_size=1"}, {"tls=1", "request=20000", "response=10"}, true);
  auto objects = stand_->seen().objects_of(pair_->server.pid());
  ASSERT_EQ(1u, objects.size());
  expect_accounted(objects[0], pair_->server.told()[0]);
  EXPECT_GT(objects[0].half[IT_IN].lost_bytes(), 0u);
}

TEST_F(OverflowTest, OnlyTheStreamThatLostHasAHole) {
  open(256 << 10, 8 << 20);
  Pair quiet({"conns=1"}, {"request=100", "response=100"});
  stand_->watch(quiet.server);
  quiet.go();
  quiet.finish();
  exchange({}, {"request=8388592"}, false);
  expect_plain(*stand_, quiet.server.told()[0], quiet.server.pid(), true);
  auto flows = stand_->seen().flows_of(quiet.server.pid());
  ASSERT_EQ(1u, flows.size());
  EXPECT_EQ(0u, flows[0].half[IT_IN].lost_bytes() + flows[0].half[IT_OUT].lost_bytes());
  auto loud = stand_->seen().flows_of(pair_->server.pid());
  ASSERT_EQ(1u, loud.size());
  expect_accounted(loud[0], pair_->server.told()[0]);
  EXPECT_GT(loud[0].half[IT_IN].lost_bytes(), 0u);
}

TEST_F(OverflowTest, WithoutRoomForTheLossesTheCountersHoldThem) {
  open(64 << 10, 4 << 10);
  exchange({}, {"request=8388592", "response=10"}, false);
  EXPECT_GT(lost(IT_LOSS_CONTROL_FULL).events, 0u);
  const Told& told = pair_->server.told()[0];
  uint64_t seen = 0;
  for (auto& [cookie, flow] : stand_->seen().flows())
    seen += flow.half[IT_IN].seen_bytes() + flow.half[IT_OUT].seen_bytes();
  // At least: a segment that TCP sends again finds no room again, and is counted again.
  EXPECT_GE(seen + lost(IT_LOSS_RING_FULL).bytes, told.in + told.out);
}

// Pages that leave memory between the cipher and the return cannot be read any more: that is said.
TEST_F(OverflowTest, Trap22_PagesThatAreGoneAreAHole) {
  open(64 << 20, 8 << 20);
  pair_ = std::make_unique<Pair>(std::vector<std::string>{"tls=1"},
                                 std::vector<std::string>{"tls=1", "gone=1", "request=40000", "write_size=9000"});
  stand_->watch(pair_->client, true);
  pair_->go();
  pair_->finish();
  for (int i = 0; i < 50; i++) stand_->round();
  auto objects = stand_->seen().objects_of(pair_->client.pid());
  ASSERT_EQ(1u, objects.size());
  expect_accounted(objects[0], pair_->client.told()[0]);
  EXPECT_EQ(pair_->client.told()[0].out, objects[0].half[IT_OUT].lost_bytes());
  EXPECT_EQ(pair_->client.told()[0].out, lost(IT_LOSS_FAULT).bytes);
}

TEST_F(OverflowTest, TenThousandSmallWritesFitTheDefaultRing) {
  const ProbeOptions defaults;
  open(defaults.data_ring_bytes, defaults.control_ring_bytes);
  exchange({"tls=1", "response=10"}, {"tls=1", "request=1000000", "write_size=100", "read_size=100"}, true);
  EXPECT_EQ("", stand_->losses());
  expect_tls(*stand_, pair_->server.told()[0], true);
}

}  // namespace
}  // namespace infertrail::testing_kernel
