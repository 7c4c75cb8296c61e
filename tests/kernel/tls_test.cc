// Plaintext of TLS: whatever way a program moves its bytes, both ends are captured byte for byte.
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

struct Way {
  std::string name;
  std::vector<std::string> server, client;   // beside tls=1
  uint64_t want_write = 0;                   // the client must have met at least so many
};

class TlsTest : public SharedStand, public testing::WithParamInterface<Way> {};

std::vector<std::string> tls(std::vector<std::string> arguments) {
  arguments.push_back("tls=1");
  return arguments;
}

TEST_P(TlsTest, BothEndsAreCapturedExactly) {
  const Way& way = GetParam();
  Pair pair(tls(way.server), tls(way.client));
  stand().watch(pair.server, true);
  stand().watch(pair.client, true);
  pair.go();
  pair.finish();
  ASSERT_FALSE(pair.client.told().empty());
  ASSERT_EQ(pair.client.told().size(), pair.server.told().size());
  for (const Told& told : pair.client.told()) {
    expect_tls(stand(), told, false);
    EXPECT_GE(told.want_write, way.want_write);
  }
  for (const Told& told : pair.server.told()) expect_tls(stand(), told, true);
  for (const Program* program : {&pair.client, &pair.server})
    for (const Told& told : program->told())
      for (const Flow& flow : stand().seen().flows_of(told.pid))
        EXPECT_EQ(0u, flow.half[IT_IN].records + flow.half[IT_OUT].records) << "ciphertext was copied";
}

INSTANTIATE_TEST_SUITE_P(
    Ways, TlsTest,
    testing::Values(
        Way{"Plain", {}, {}},
        Way{"Trap4_Ex", {"read=ex", "write=ex"}, {"read=ex", "write=ex"}},
        Way{"MixedForms", {"read=ex"}, {"write=ex"}},
        Way{"Tls12", {"version=1.2"}, {"version=1.2"}},
        Way{"Tls12Ex", {"version=1.2", "read=ex"}, {"version=1.2", "write=ex"}},
        Way{"ManySmallWrites", {"response=50000", "write_size=200"}, {"request=50000", "write_size=185", "read_size=300"}},
        Way{"OddReadSizes", {"read_size=65"}, {"request=40000", "response=40000", "read_size=63"}},
        Way{"MemoryBio", {"bio=memory", "response=300000"}, {"bio=memory", "request=300000"}},
        Way{"MemoryBioAndSocket", {"bio=memory", "read=ex"}, {"request=100000"}},
        Way{"OtherThreadEachCall", {"threads=1", "write_size=5000"}, {"threads=1", "request=100000", "write_size=3000"}},
        Way{"Trap13_OneWriteOf64MiB", {}, {"request=67108848"}},
        Way{"Trap13_OneWriteOf64MiBEx", {"read=ex"}, {"request=67108848", "write=ex"}},
        Way{"Trap13_64MiBIn100Writes", {}, {"request=67108848", "write_size=671089"}},
        Way{"Trap13_64MiBIn10000Writes", {}, {"request=67108848", "write_size=6711"}},
        Way{"Trap13_AnswerOf64MiB", {}, {"response=67108864"}},
        Way{"Trap22_64MiBFromUntouchedPages", {}, {"request=67108864", "cold=anon"}},
        Way{"Trap22_64MiBFromAnEvictedFile", {}, {"request=67108864", "cold=file"}},
        Way{"Tls12Cbc", {"version=1.2", "cipher=ECDHE-ECDSA-AES128-SHA"}, {"version=1.2", "cipher=ECDHE-ECDSA-AES128-SHA", "request=9000000"}},
        Way{"MemoryBioLarge", {"bio=memory"}, {"bio=memory", "request=20000000"}},
        Way{"AnswerOf20MiB", {}, {"response=20971520"}},
        Way{"Trap3_WantWrite", {}, {"nonblock=1", "sendbuf=4096", "request=4000000"}, 1},
        Way{"Trap3_WantWriteEx", {}, {"nonblock=1", "sendbuf=4096", "request=4000000", "write=ex"}, 1},
        Way{"Trap3_WantWritePartial", {}, {"nonblock=1", "partial=1", "sendbuf=4096", "request=4000000"}, 1},
        Way{"Trap52_FailingWrite", {"failing=1"}, {"failing=1"}}),
    [](const auto& each) { return each.param.name; });

TEST_F(TlsTest, AFailingWriteAddsNothing) {
  Pair pair(tls({}), tls({"failing=1"}));
  stand().watch(pair.client, true);
  pair.go();
  pair.finish();
  ASSERT_EQ(1u, pair.client.told().size());
  EXPECT_EQ(1u, pair.client.told()[0].failed);
  expect_tls(stand(), pair.client.told()[0], false);
}

TEST_F(TlsTest, OneByteReadsAreJoined) {
  Pair pair(tls({"read_size=1"}), tls({"request=984"}));
  stand().watch(pair.server, true);
  pair.go();
  pair.finish();
  ASSERT_EQ(1u, pair.server.told().size());
  const Told& told = pair.server.told()[0];
  expect_tls(stand(), told, true);
  EXPECT_EQ(1000u, told.in);
  EXPECT_GE(told.calls, 1000u) << "the program did not read byte by byte";
  auto objects = stand().seen().objects_of(told.pid);
  ASSERT_EQ(1u, objects.size());
  EXPECT_LE(objects[0].half[IT_IN].records, 10u);
}

TEST_F(TlsTest, BytesThatWaitToBeJoinedCanBeReadMeanwhile) {
  Pair pair(tls({"read_size=1"}), tls({"request=4", "parts=2"}));
  stand().watch(pair.server, true);
  pair.go();
  pair.client.expect("part");   // the answer is here: the request was read
  std::string waiting;
  EXPECT_TRUE(stand().wait([&] {
    const auto objects = stand().seen().objects_of(pair.server.pid());
    return objects.size() == 1 && objects[0].half[IT_IN].seen_bytes() == 20;
  })) << "the joined bytes must leave before the answer does";
  pair.client.go();
  pair.finish();
  expect_tls(stand(), pair.server.told()[0], true);
  EXPECT_EQ(0u, stand().probes().waiting_reads().size());
}

}  // namespace
}  // namespace infertrail::testing_kernel
