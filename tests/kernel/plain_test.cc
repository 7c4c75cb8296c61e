// Plain TCP: both directions byte for byte, by stream offset, whatever moved the bytes.
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

class PlainTest : public SharedStand {
 protected:
  void both_ends(const std::vector<std::string>& server, const std::vector<std::string>& client, size_t connections) {
    pair_ = std::make_unique<Pair>(server, client);
    stand().watch(pair_->server);
    stand().watch(pair_->client);
    pair_->go();
    pair_->finish();
    ASSERT_EQ(connections, pair_->client.told().size());
    ASSERT_EQ(connections, pair_->server.told().size());
    for (const Told& told : pair_->client.told()) expect_plain(stand(), told, told.pid, false);
    // An accepted socket belongs to the process that listens; its worker is told apart.
    for (const Told& told : pair_->server.told()) expect_plain(stand(), told, pair_->server.pid(), true);
  }
  std::unique_ptr<Pair> pair_;
};

TEST_F(PlainTest, FiftyConnectionsOfRandomBodies) {
  both_ends({"conns=50", "seed=3"}, {"forks=5", "conns=10", "random=300000", "seed=2"}, 50);
}

TEST_F(PlainTest, ManySmallWrites) {
  both_ends({"response=30000", "write_size=100"}, {"request=30000", "write_size=77", "response=30000"}, 1);
}

TEST_F(PlainTest, Trap49_SendfileIsSeen) {
  char path[] = "/tmp/infertrail-sendfile-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  close(fd);
  std::string content(8 << 20, 0);
  for (size_t i = 0; i < content.size(); i++) content[i] = static_cast<char>(i * i >> 7);
  std::ofstream(path, std::ios::binary) << content;
  both_ends({std::string("file=") + path}, {"response=8388608"}, 1);
  unlink(path);
}

TEST_F(PlainTest, OverIPv6) { both_ends({"conns=5", "family=6"}, {"conns=5", "family=6", "random=100000"}, 5); }

TEST_F(PlainTest, HalfClosed) { both_ends({}, {"halfclose=1", "response=500000"}, 1); }

TEST_F(PlainTest, Trap13_AnswerOf64MiB) { both_ends({}, {"response=67108864"}, 1); }

TEST_F(PlainTest, AResetInTheMiddleEndsBothFlows) {
  Pair pair({"reset=1"}, {"reset=1", "response=8000000"});
  stand().watch(pair.server);
  stand().watch(pair.client);
  pair.go();
  pair.finish();
  ASSERT_EQ(1u, pair.server.told().size());
  ASSERT_EQ(1u, pair.client.told().size());
  for (Program* program : {&pair.client, &pair.server}) {
    const bool server = program == &pair.server;
    SCOPED_TRACE(server ? "server" : "client");
    const Told& told = program->told()[0];
    Flow flow;
    ASSERT_TRUE(stand().wait([&] {
      auto flows = stand().seen().flows_of(program->pid());
      if (flows.size() == 1) flow = flows[0];
      return flow.closed;
    }));
    const int request = server ? IT_IN : IT_OUT, answer = server ? IT_OUT : IT_IN;
    EXPECT_EQ(server ? told.in_sha : told.out_sha, flow.half[request].sha());
    EXPECT_NE("hole", flow.half[answer].sha());
    EXPECT_GT(flow.half[answer].seen_bytes(), 0u);
    EXPECT_LE(flow.half[answer].seen_bytes(), server ? told.out : 8000000u);
    EXPECT_EQ(flow.half[answer].seen_bytes(), flow.end[answer]);
  }
}

TEST_F(PlainTest, Trap11_AConnectionOlderThanTheTargetBeginsWhereItStands) {
  Pair pair({}, {"parts=2"});
  pair.go();
  pair.client.expect("part");
  stand().watch(pair.server);
  stand().watch(pair.client);
  pair.client.go();
  pair.finish();
  for (Program* program : {&pair.client, &pair.server}) {
    const bool server = program == &pair.server;
    SCOPED_TRACE(server ? "server" : "client");
    Flow flow;
    ASSERT_TRUE(stand().wait([&] {
      auto flows = stand().seen().flows_of(program->pid());
      if (flows.size() == 1) flow = flows[0];
      return flow.closed;
    }));
    EXPECT_TRUE(flow.open.flags & IT_FLOW_EXISTED);
    EXPECT_EQ(server ? IT_ROLE_SERVER : IT_ROLE_CLIENT, flow.open.role);
    using Ranges = std::map<uint64_t, uint64_t>;
    EXPECT_EQ((Ranges{{1016, 2032}}), flow.half[server ? IT_IN : IT_OUT].seen);
    EXPECT_EQ((Ranges{{1000, 2000}}), flow.half[server ? IT_OUT : IT_IN].seen);
  }
}

TEST_F(PlainTest, AProcessThatIsNoTargetIsNotSeenAtAll) {
  Pair other({"tls=1"}, {"tls=1"}), plain({}, {}), watched({}, {});
  stand().watch(watched.server);
  for (Pair* pair : {&other, &plain, &watched}) {
    pair->go();
    pair->finish();
  }
  // Records of a ring come in order: what stands before this has been read.
  expect_plain(stand(), watched.server.told()[0], watched.server.pid(), true);
  for (Program* program : {&other.server, &other.client, &plain.server, &plain.client, &watched.client}) {
    EXPECT_TRUE(stand().seen().objects_of(program->pid()).empty());
    EXPECT_TRUE(stand().seen().flows_of(program->pid()).empty());
  }
  EXPECT_EQ(1u, stand().seen().flows().size());
  EXPECT_EQ(0u, stand().seen().objects().size());
}

TEST_F(PlainTest, ASocketThatWasIdleWhenItsProcessWasChosenConnectsAsAClient) {
  both_ends({}, {"early=1"}, 1);
}

TEST_F(PlainTest, TheOtherEndIsNamed) {
  both_ends({"conns=3"}, {"conns=3"}, 3);
  for (const Flow& flow : stand().seen().flows_of(pair_->server.pid()))
    EXPECT_EQ(pair_->client.pid(), flow.open.peer_tgid);
}

TEST_F(PlainTest, Trap47_TheWorkerThatAcceptedIsNamed) {
  both_ends({"workers=3", "conns=2"}, {"conns=6"}, 6);
  for (const Told& told : pair_->server.told()) {
    EXPECT_NE(pair_->server.pid(), told.pid);
    for (const Flow& flow : stand().seen().flows_of(pair_->server.pid()))
      if (flow.open.addresses.remote_port == told.remote) {
        ASSERT_EQ(1u, flow.owners.size());
        EXPECT_EQ(told.pid, flow.owners[0]);
      }
  }
}

}  // namespace
}  // namespace infertrail::testing_kernel
