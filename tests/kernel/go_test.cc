// Go's crypto/tls: both ends byte for byte, each on its own socket, and a program that lives on whatever
// is attached and detached around it. Programs: tests/programs/go_peer.go, built by Debian's go.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

struct GoPair {
  GoPair(const std::string& name, std::vector<std::string> server_arguments, std::vector<std::string> client_arguments)
      : server(with(std::move(server_arguments), "role=server"), name),
        client(with(with(std::move(client_arguments), "role=client"), "port=" + std::to_string(server.port())), name) {}
  static std::vector<std::string> with(std::vector<std::string> arguments, std::string last) {
    arguments.push_back(std::move(last));
    return arguments;
  }
  void go() {
    server.go();
    client.go();
  }
  void finish() {
    client.finish();
    server.go();   // no more connections
    server.finish();
  }
  Program server, client;
};

bool built(const std::string& name) { return access((own_folder() + "/" + name).c_str(), X_OK) == 0; }
#define NEED_GO(name) \
  if (!built(name)) GTEST_SKIP() << "built without go"

class GoTest : public SharedStand {
 protected:
  void watch(const Program& program) {
    stand().watch(program);
    for (const TargetInfo& info : stand().targets().list())
      if (info.facts.pid == program.pid()) {
        EXPECT_EQ(1u, info.libraries.size()) << "the program itself should be probed";
      }
  }
  void both_ends(const std::string& name, std::vector<std::string> server, std::vector<std::string> client,
                 size_t connections, uint8_t method = IT_BIND_GO_FD) {
    GoPair pair(name, std::move(server), std::move(client));
    watch(pair.server);
    watch(pair.client);
    pair.go();
    pair.finish();
    // On a slow machine net/http now and then gives up a connection and makes another.
    ASSERT_LE(connections, pair.client.told().size());
    ASSERT_EQ(pair.server.told().size(), pair.client.told().size());
    for (const Told& told : pair.client.told()) expect_tls(stand(), told, false);
    for (const Told& told : pair.server.told()) expect_tls(stand(), told, true);
    for (const Program* program : {&pair.client, &pair.server}) {
      const auto objects = stand().seen().objects_of(program->pid());
      EXPECT_EQ(program->told().size(), objects.size());
      for (const Object& object : objects) EXPECT_EQ(method, object.method);
    }
    // It reads from its standard input when all is done, in no call of ours.
    EXPECT_EQ(0u, stand().probes().entries("go_calls"));
    EXPECT_TRUE(stand().wait([&] { return stand().probes().entries("tls_objects") == 0; }))
        << stand().probes().entries("tls_objects") << " objects have not ended";
    EXPECT_EQ("", stand().losses());
    stand().end(pair.client);
    stand().end(pair.server);
  }
};

// Other versions: built by hand into our own folder and named here, INFERTRAIL_GO_PEERS="go_peer1.23 …".
std::vector<std::string> peers() {
  std::vector<std::string> out = {"go_peer", "go_peer_stripped", "go_peer_pie"};
  std::istringstream more(std::getenv("INFERTRAIL_GO_PEERS") ? std::getenv("INFERTRAIL_GO_PEERS") : "");
  for (std::string name; more >> name;) out.push_back(name);
  return out;
}

TEST_F(GoTest, Trap29_HttpsOfEveryBuild) {
  for (const std::string& name : peers()) {
    SCOPED_TRACE(name);
    NEED_GO(name);
    both_ends(name, {"conns=8"}, {"conns=8", "requests=5", "request=20000", "response=30000"}, 8);
    if (HasFailure()) return;
  }
}

TEST_F(GoTest, LargeBodies) {
  NEED_GO("go_peer");
  both_ends("go_peer", {"conns=1"}, {"requests=2", "request=8388608", "response=8388608"}, 1);
}

TEST_F(GoTest, FiftyConnectionsAtOnceWithSmallRequests) {
  NEED_GO("go_peer_stripped");
  both_ends("go_peer_stripped", {"conns=50"}, {"conns=50", "requests=20", "request=300", "response=700"}, 50);
}

TEST_F(GoTest, BuffersOnAStackThatMoves) {
  NEED_GO("go_peer");
  both_ends("go_peer", {"conns=40", "stack=1"}, {"conns=40", "stack=1"}, 40);
}

// A net.Conn that is no *net.TCPConn has something else where the descriptor would be: it is not looked
// at, the ciphertext names the socket.
TEST_F(GoTest, AConnectionInsideAnotherTypeIsBoundByItsCiphertext) {
  NEED_GO("go_peer");
  both_ends("go_peer", {"conns=10", "wrap=1"}, {"conns=10", "wrap=1", "requests=3", "request=5000"}, 10, IT_BIND_FP_EGRESS);
}

// Nobody calls (*Conn).Close: the objects end with their sockets, and what has their addresses later is another.
TEST_F(GoTest, Trap06_ConnectionsOfWhichOnlyTheSocketIsClosed) {
  NEED_GO("go_peer");
  both_ends("go_peer", {"raw=1"}, {"conns=10", "rounds=10", "requests=2", "request=700", "response=900", "raw=1"}, 100);
}

TEST_F(GoTest, Trap06_SocketsClosedBelowAnotherType) {
  NEED_GO("go_peer");
  both_ends("go_peer", {"raw=1", "wrap=1"}, {"conns=5", "rounds=4", "requests=2", "raw=1", "wrap=1"}, 20, IT_BIND_FP_EGRESS);
}

// Reads wait in both programs while their probes come: they are seen by their RETs.
TEST_F(GoTest, Trap41_AConnectionOlderThanTheCapture) {
  NEED_GO("go_peer");
  GoPair pair("go_peer", {"conns=4"}, {"conns=4", "requests=3", "request=3000", "response=4000", "pause=1"});
  pair.go();
  for (int i = 0; i < 4; i++) pair.client.expect("part");
  watch(pair.server);
  watch(pair.client);
  for (int i = 0; i < 4; i++) pair.client.go();
  pair.finish();
  for (Program* program : {&pair.client, &pair.server}) {
    const bool server = program == &pair.server;
    SCOPED_TRACE(server ? "server" : "client");
    std::vector<Object> objects;
    ASSERT_TRUE(stand().wait([&] {
      objects = stand().seen().objects_of(program->pid());
      size_t closed = 0;
      for (const Object& object : objects) closed += object.closed;
      return closed == 4;
    }));
    const auto flows = stand().seen().flows();
    for (const Object& object : objects) {
      ASSERT_TRUE(flows.contains(object.cookie)) << "not bound";
      const Flow& flow = flows.at(object.cookie);
      const Told* told = nullptr;
      for (const Told& each : program->told())
        if (each.ssl == object.ssl) told = &each;
      ASSERT_NE(nullptr, told);
      EXPECT_EQ(told->local, flow.open.addresses.local_port);
      EXPECT_EQ(told->remote, flow.open.addresses.remote_port);
      EXPECT_TRUE(flow.open.flags & IT_FLOW_EXISTED);
      // Two of three requests and answers, whole, in both directions, with their heads.
      for (uint8_t side : {IT_IN, IT_OUT}) {
        const bool answers = server == (side == IT_OUT);
        EXPECT_GT(object.half[side].seen_bytes(), answers ? 8000u : 6000u);
        EXPECT_LT(object.half[side].seen_bytes(), answers ? 9000u : 7000u);
        EXPECT_EQ(object.end[side], object.half[side].seen_bytes());
        EXPECT_EQ(0u, object.half[side].bytes.find(answers ? "HTTP/1.1 200" : "POST /")) << "it begins with another call";
      }
    }
  }
}

TEST_F(GoTest, ItsCallsAreCountedAsThoseOfALibraryAre) {
  NEED_GO("go_peer");
  GoPair pair("go_peer", {"conns=1"}, {"requests=3"});
  watch(pair.client);
  pair.go();
  pair.finish();
  uint64_t reads = 0, writes = 0, ended = 0;
  for (uint32_t library = 0; library < 8; library++) {   // the suite's files
    const LibraryHits hits = stand().probes().hits(library);
    reads += hits.enters[IT_CALL_READ];
    writes += hits.enters[IT_CALL_WRITE];
    ended += hits.exits[IT_CALL_READ] + hits.exits[IT_CALL_WRITE];
  }
  EXPECT_GE(reads, 3u);
  EXPECT_GE(writes, 3u);
  EXPECT_GE(ended, 6u);
}

TEST_F(GoTest, AProcessThatIsKilledLeavesNothing) {
  NEED_GO("go_peer");
  GoPair pair("go_peer", {"conns=10"}, {"conns=10", "requests=2", "pause=1"});
  watch(pair.server);
  watch(pair.client);
  pair.go();
  for (int i = 0; i < 10; i++) pair.client.expect("part");
  EXPECT_TRUE(stand().wait([&] { return stand().probes().entries("go_calls") >= 20; }))
      << "each end should wait in a Read: this proves nothing";
  pair.client.kill();
  pair.server.kill();
  EXPECT_TRUE(stand().wait([&] {
    return stand().probes().entries("go_calls") == 0 && stand().probes().entries("tls_objects") == 0;
  })) << stand().probes().entries("go_calls") << " calls, " << stand().probes().entries("tls_objects") << " objects";
}

// Attached and detached again and again while goroutines of both programs move between threads; the
// client checks every body itself and both must end well.
TEST(GoLife, Trap29_ProgramsSurviveAttachAndDetachUnderLoad) {
  if (auto why = missing(); !why.empty()) GTEST_SKIP() << why;
  NEED_GO("go_peer_stripped");
  GoPair pair("go_peer_stripped", {"conns=30"},
              {"conns=30", "requests=" + std::to_string(std::getenv("VM") ? 60 : 300), "request=9000", "response=20000"});
  pair.go();
  uint64_t records = 0;
  for (int round = 0; round < 3; round++) {
    auto opened = Stand::open();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    Stand& stand = *opened.value();
    stand.start();
    stand.watch(pair.server);
    stand.watch(pair.client);
    usleep(300'000);
    stand.stop();
    records += stand.seen().data_records();
    for (auto& [id, object] : stand.seen().objects()) {
      EXPECT_FALSE(object.half[IT_IN].contradiction || object.half[IT_OUT].contradiction);
      EXPECT_LE(object.binds, 1u);
    }
  }
  EXPECT_GT(records, 0u);
  pair.finish();
  EXPECT_LE(30u, pair.client.told().size());
  pair.client.end();
  pair.server.end();
}

}  // namespace
}  // namespace infertrail::testing_kernel
