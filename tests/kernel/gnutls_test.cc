// GnuTLS: both ends byte for byte, each on its own socket, in every way that a program can send, receive and be
// connected. The program: tests/programs/gnutls_peer.c.
#include <gmock/gmock.h>
#include <unistd.h>

#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

struct Way {
  std::string name;
  std::vector<std::string> server, client;
  uint64_t again = 0;   // GNUTLS_E_AGAIN that the client must have met at least
};

bool built() { return access((own_folder() + "/it_gnutls_peer").c_str(), X_OK) == 0; }
#define NEED_GNUTLS() \
  if (!built()) GTEST_SKIP() << "built without GnuTLS (libgnutls28-dev)"

std::vector<std::string> gnutls(std::vector<std::string> arguments) {
  arguments.push_back(std::string(kProgram) + "it_gnutls_peer");
  return arguments;
}

// Both ends of all connections, and nothing that stays behind.
void expect_both_ends(Stand& stand, Pair& pair, uint8_t method = IT_BIND_FP_EGRESS) {
  ASSERT_FALSE(pair.client.told().empty());
  ASSERT_EQ(pair.client.told().size(), pair.server.told().size());
  for (const Told& told : pair.client.told()) expect_tls(stand, told, false);
  for (const Told& told : pair.server.told()) expect_tls(stand, told, true);
  for (const Program* program : {&pair.client, &pair.server}) {
    const auto objects = stand.seen().objects_of(program->pid());
    EXPECT_EQ(program->told().size(), objects.size());
    for (const Object& object : objects) EXPECT_EQ(method, object.method);
    for (const Flow& flow : stand.seen().flows_of(program->pid()))
      EXPECT_EQ(0u, flow.half[IT_IN].records + flow.half[IT_OUT].records) << "ciphertext was copied";
  }
  for (const char* map : {"tls_objects", "gnutls_kept", "gnutls_packets"}) EXPECT_EQ(0u, stand.probes().entries(map)) << map;
}

class GnuTlsTest : public SharedStand {
 protected:
  void run(const std::vector<std::string>& server, const std::vector<std::string>& client) {
    pair_ = std::make_unique<Pair>(gnutls(server), gnutls(client));
    stand().watch(pair_->server, true, 1);
    stand().watch(pair_->client, true, 1);
    pair_->go();
    pair_->finish();
  }
  std::unique_ptr<Pair> pair_;
};
class GnuTlsWays : public GnuTlsTest, public testing::WithParamInterface<Way> {};

TEST_P(GnuTlsWays, BothEndsAreCapturedExactly) {
  NEED_GNUTLS();
  const Way& way = GetParam();
  run(way.server, way.client);
  expect_both_ends(stand(), *pair_);
  uint64_t again = 0;
  for (const Told& told : pair_->client.told()) again += told.want_write;
  EXPECT_GE(again, way.again ? 1u : 0u);
  EXPECT_EQ("", stand().losses());
}

INSTANTIATE_TEST_SUITE_P(
    Ways, GnuTlsWays,
    testing::Values(
        Way{"Plain", {}, {}},
        Way{"Tls12", {"version=1.2"}, {"version=1.2"}},
        Way{"EachTransport", {"transport=ptr"}, {"transport=ptr2"}},
        Way{"Transport2", {"transport=int2"}, {"transport=int"}},
        Way{"Trap08_OwnPushFunction", {"push=own"}, {"push=vector", "request=100000"}},
        Way{"Trap08_CiphertextThatLeavesLater", {"push=later", "response=300000"}, {"push=later", "request=300000"}},
        Way{"Trap03_SendAgain", {"nonblock=1", "sendbuf=20000"},
            {"nonblock=1", "sendbuf=20000", "request=4194304", "response=4194304"}, 10},
        Way{"Trap03_SendAgainWithoutTheData", {"nonblock=1", "sendbuf=20000", "retry=null"},
            {"nonblock=1", "sendbuf=20000", "request=4194304", "response=4194304", "retry=null"}, 10},
        Way{"Trap03_SendAgainOwnPushFunction", {"nonblock=1", "sendbuf=20000", "push=vector", "retry=null"},
            {"nonblock=1", "sendbuf=20000", "push=own", "request=3000000", "response=3000000", "write_size=9000"}, 10},
        Way{"Trap52_Corked", {"cork=1", "response=300000", "write_size=5000"}, {"cork=1", "request=300000", "write_size=70000"}},
        Way{"Trap52_CorkedAgain", {"cork=1", "nonblock=1", "sendbuf=20000"},
            {"cork=1", "nonblock=1", "sendbuf=20000", "request=2000000", "response=2000000", "write_size=100000"}, 2},
        Way{"ReceiveSeqAndPackets", {"read=packet"}, {"read=seq", "request=300000", "response=300000"}},
        Way{"PacketsBothWays", {"read=packet", "conns=5"}, {"read=seq", "conns=5", "request=70000"}},
        Way{"Trap30_OneByteReads", {"read_size=1"}, {"request=3000", "response=3000", "read_size=1"}},
        Way{"ManySmallWrites", {"write_size=200", "response=50000"}, {"write_size=185", "request=50000", "read_size=300"}},
        Way{"SendFileWithoutKtls", {"file=/proc/self/exe"}, {"response=20000"}},
        Way{"Trap27_EarlyData", {"early=1", "conns=2"}, {"early=1", "conns=2", "request=9000"}},
        Way{"Trap07_CopiedDescriptor", {"dup=1", "conns=20"}, {"conns=20"}},
        Way{"Trap13_64MiB", {}, {"request=67108848"}},
        Way{"Trap13_AnswerOf64MiB", {}, {"response=67108848"}},
        Way{"Trap42_SessionsOfOneAddress", {"conns=300"}, {"conns=300", "request=200", "response=300"}}),
    [](const auto& info) { return info.param.name; });

// Bytes that nobody looked at were received all the same: a hole with its place and length.
TEST_F(GnuTlsTest, Trap26_APacketThatIsThrownAwayIsAHole) {
  NEED_GNUTLS();
  auto opened = Stand::open();   // loses on purpose
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  Stand& own = *opened.value();
  own.start();
  Pair pair(gnutls({"read=packet", "unread=1"}), gnutls({"request=50000"}));
  own.watch(pair.server, true, 1);
  pair.go();
  pair.finish();
  ASSERT_TRUE(own.wait([&] {
    auto objects = own.seen().objects_of(pair.server.pid());
    return objects.size() == 1 && objects[0].closed;
  }));
  const Object object = own.seen().objects_of(pair.server.pid())[0];
  EXPECT_EQ(50016u, object.end[IT_IN]);
  EXPECT_EQ(16384u, object.half[IT_IN].lost_bytes());
  EXPECT_EQ(50016u - 16384u, object.half[IT_IN].seen_bytes());
  own.stop();
}

// The inner one's ciphertext never is on the wire as it is: it stays unbound, and never gets the outer's socket.
TEST_F(GnuTlsTest, Trap40_TlsInsideTls) {
  NEED_GNUTLS();
  run({"tunnel=1", "conns=3"}, {"tunnel=1", "conns=3"});
  for (const Program* program : {&pair_->client, &pair_->server}) {
    std::vector<Object> objects;
    ASSERT_TRUE(stand().wait([&] {
      objects = stand().seen().objects_of(program->pid());
      size_t closed = 0;
      for (const Object& object : objects) closed += object.closed;
      return closed == 6;
    }));
    for (const Told& told : program->told()) {
      size_t found = 0;
      for (const Object& object : objects) {
        if (object.ssl == told.ssl && object.half[IT_IN].sha() == told.in_sha && object.half[IT_OUT].sha() == told.out_sha) {
          found++;
          EXPECT_EQ(0u, object.cookie) << "bound to the socket of the one around it";
        }
      }
      EXPECT_EQ(1u, found);
    }
  }
}

TEST_F(GnuTlsTest, Trap41_AConnectionOlderThanTheCapture) {
  NEED_GNUTLS();
  for (const char* push : {"push=", "push=own", "push=vector"}) {
    SCOPED_TRACE(push);
    Pair pair(gnutls({push}), gnutls({"parts=3", "request=3000", "response=4000", push}));
    pair.go();
    pair.client.expect("part");
    stand().watch(pair.server, true, 1);
    stand().watch(pair.client, true, 1);
    pair.client.go();
    pair.client.expect("part");
    pair.client.go();
    pair.finish();
    for (Program* program : {&pair.client, &pair.server}) {
      const bool server = program == &pair.server;
      SCOPED_TRACE(server ? "server" : "client");
      std::vector<Object> objects;
      ASSERT_TRUE(stand().wait([&] {
        objects = stand().seen().objects_of(program->pid());
        return objects.size() == 1 && objects[0].closed;
      }));
      const auto flows = stand().seen().flows();
      ASSERT_TRUE(flows.contains(objects[0].cookie)) << "not bound";
      EXPECT_EQ(program->told()[0].local, flows.at(objects[0].cookie).open.addresses.local_port);
      EXPECT_TRUE(flows.at(objects[0].cookie).open.flags & IT_FLOW_EXISTED);
      EXPECT_EQ(IT_BIND_FP_EGRESS, objects[0].method);
      // Two of three parts; what the server's waiting receive took of the second was entered without us.
      EXPECT_EQ(server ? 8000u : 6032u, objects[0].half[IT_OUT].seen_bytes());
      EXPECT_GE(objects[0].half[IT_IN].seen_bytes(), server ? 6016u : 8000u);
    }
  }
}

TEST_F(GnuTlsTest, AProcessKilledInASendLeavesNothing) {
  NEED_GNUTLS();
  pair_ = std::make_unique<Pair>(gnutls({"nonblock=1", "sendbuf=20000", "response=30000000"}),
                                 gnutls({"parts=2", "request=100", "response=100"}));
  stand().watch(pair_->server, true, 1);
  stand().watch(pair_->client, true, 1);
  pair_->go();
  pair_->client.expect("part");
  pair_->client.kill();
  pair_->server.kill();
  EXPECT_TRUE(stand().wait([&] {
    return stand().probes().entries("gnutls_kept") == 0 && stand().probes().entries("tls_objects") == 0;
  }));
}

// Where the ciphertext's place is not found: what the program says that it sends to.
TEST(GnuTlsDescriptor, TheDescriptorBindsTheLibrarysOwnPushFunctionOnly) {
  NEED_GNUTLS();
  if (auto why = missing(); !why.empty()) GTEST_SKIP() << why;
  ProbeOptions options;
  options.gnutls_binding = GnuTlsBinding::kDescriptor;
  auto opened = Stand::open(options);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  Stand& stand = *opened.value();
  stand.start();
  for (const char* transport : {"transport=int", "transport=int2", "transport=ptr", "transport=ptr2"}) {
    SCOPED_TRACE(transport);
    Pair pair(gnutls({transport, "conns=5", "dup=1"}), gnutls({transport, "conns=5"}));
    stand.watch(pair.server, true, 1);
    stand.watch(pair.client, true, 1);
    pair.go();
    pair.finish();
    for (const Program* program : {&pair.client, &pair.server})
      for (const Told& told : program->told()) {
        Object object;
        ASSERT_TRUE(stand.wait([&] {
          for (const Object& each : stand.seen().objects_of(program->pid()))
            if (each.cookie == told.cookie && each.closed) object = each;
          return object.closed;
        })) << "not bound";
        EXPECT_EQ(told.ssl, object.ssl);
        EXPECT_EQ(IT_BIND_SET_FD, object.method);
        EXPECT_EQ(told.in_sha, object.half[IT_IN].sha());
        EXPECT_EQ(told.out_sha, object.half[IT_OUT].sha());
      }
  }
  // A push function of the program's own: what it was given may be anything.
  Pair pair(gnutls({"push=own", "conns=3"}), gnutls({"push=vector", "conns=3"}));
  stand.watch(pair.server, true, 1);
  stand.watch(pair.client, true, 1);
  pair.go();
  pair.finish();
  for (const Program* program : {&pair.client, &pair.server}) {
    ASSERT_TRUE(stand.wait([&] {
      size_t closed = 0;
      for (const Object& object : stand.seen().objects_of(program->pid())) closed += object.closed;
      return closed == 3;
    }));
    for (const Object& object : stand.seen().objects_of(program->pid())) EXPECT_EQ(0u, object.cookie);
  }
  stand.stop();
}

}  // namespace
}  // namespace infertrail::testing_kernel
