// Which socket a TLS object belongs to: never a wrong one, whatever repeats.
#include <gmock/gmock.h>

#include <algorithm>
#include <set>


#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

class TlsBindingTest : public SharedStand {
 protected:
  void both_ends(std::vector<std::string> server, std::vector<std::string> client, size_t connections) {
    server.push_back("tls=1");
    client.push_back("tls=1");
    pair_ = std::make_unique<Pair>(server, client);
    stand().watch(pair_->server, true);
    stand().watch(pair_->client, true);
    pair_->go();
    pair_->finish();
    ASSERT_EQ(connections, pair_->client.told().size());
    ASSERT_EQ(connections, pair_->server.told().size());
    for (const Told& told : pair_->client.told()) expect_tls(stand(), told, false);
    for (const Told& told : pair_->server.told()) expect_tls(stand(), told, true);
  }
  std::unique_ptr<Pair> pair_;
};

TEST_F(TlsBindingTest, Trap42_AnAddressUsedAgainIsANewObject) {
  both_ends({"conns=40"}, {"conns=40", "random=2000"}, 40);
  std::set<uint64_t> addresses;
  for (const Told& told : pair_->client.told()) addresses.insert(told.ssl);
  EXPECT_LT(addresses.size(), 40u) << "no address was used twice: this proves nothing";
  EXPECT_EQ(40u, stand().seen().objects_of(pair_->client.pid()).size());
}

TEST_F(TlsBindingTest, Trap05_TheSameAddressInTwoProcessesIsTwoObjects) {
  both_ends({"conns=12"}, {"forks=3", "conns=4", "random=3000"}, 12);
  std::map<uint64_t, std::set<uint32_t>> users;
  for (const Told& told : pair_->client.told()) users[told.ssl].insert(told.pid);
  EXPECT_TRUE(std::any_of(users.begin(), users.end(), [](auto& each) { return each.second.size() > 1; }))
      << "no address was used by two processes: this proves nothing";
}

TEST_F(TlsBindingTest, Trap43_ForkedWorkersThatAccept) {
  both_ends({"workers=3", "conns=4"}, {"conns=12", "random=3000"}, 12);
}

TEST_F(TlsBindingTest, Trap39_HelloRetryRequestsAreNotMistaken) {
  both_ends({"conns=20", "groups=P-384"}, {"conns=20", "groups=X25519:P-384"}, 20);
}

TEST_F(TlsBindingTest, Trap39_Tls12ServersSendTheSameCertificate) {
  both_ends({"conns=30", "version=1.2"}, {"forks=3", "conns=10", "version=1.2"}, 30);
}

TEST_F(TlsBindingTest, OverIPv6) {
  both_ends({"conns=5", "family=6"}, {"conns=5", "family=6"}, 5);
}

TEST_F(TlsBindingTest, TlsInsideTlsIsTwoObjectsAndOnlyTheOuterHasASocket) {
  Pair pair({"tls=1", "bio=tunnel"}, {"tls=1", "bio=tunnel", "request=50000", "response=50000"});
  stand().watch(pair.server, true);
  stand().watch(pair.client, true);
  pair.go();
  pair.finish();
  for (Program* program : {&pair.client, &pair.server}) {
    SCOPED_TRACE(program == &pair.server ? "server" : "client");
    const Told& told = program->told()[0];
    std::vector<Object> objects;
    ASSERT_TRUE(stand().wait([&] {
      objects = stand().seen().objects_of(program->pid());
      return objects.size() == 2 && objects[0].closed && objects[1].closed;
    }));
    if (objects[0].ssl != told.ssl) std::swap(objects[0], objects[1]);
    ASSERT_EQ(told.ssl, objects[0].ssl);
    EXPECT_EQ(told.in_sha, objects[0].half[IT_IN].sha());
    EXPECT_EQ(told.out_sha, objects[0].half[IT_OUT].sha());
    EXPECT_EQ(0u, objects[0].binds) << "its ciphertext is never on the wire";
    EXPECT_EQ(1u, objects[1].binds);
    for (int side : {IT_IN, IT_OUT}) {   // the inner records, whole
      EXPECT_NE("hole", objects[1].half[side].sha());
      EXPECT_GT(objects[1].half[side].seen_bytes(), objects[0].half[side].seen_bytes());
      EXPECT_EQ('\x16', objects[1].half[side].bytes[0]) << "begins with a handshake record";
    }
  }
}

TEST_F(TlsBindingTest, Trap11_AConnectionOlderThanTheCaptureIsBoundAtItsNextWrite) {
  Pair pair({"tls=1"}, {"tls=1", "parts=2"});
  pair.go();
  pair.client.expect("part");
  stand().watch(pair.server, true);
  stand().watch(pair.client, true);
  pair.client.go();
  pair.finish();
  for (Program* program : {&pair.client, &pair.server}) {
    const bool server = program == &pair.server;
    SCOPED_TRACE(server ? "server" : "client");
    Object object;
    ASSERT_TRUE(stand().wait([&] {
      auto objects = stand().seen().objects_of(program->pid());
      if (objects.size() == 1 && objects[0].closed) object = objects[0];
      return object.closed;
    }));
    // A read that waits while the probes are attached was entered without them: its 16 bytes cannot
    // be seen. That is why such an object says that its beginning is missing.
    if (server)
      EXPECT_THAT(object.half[IT_IN].seen_bytes(), testing::AnyOf(1000u, 1016u));
    else
      EXPECT_EQ(1000u, object.half[IT_IN].seen_bytes());
    EXPECT_EQ(server ? 1000u : 1016u, object.half[IT_OUT].seen_bytes());
    const auto flows = stand().seen().flows();
    ASSERT_TRUE(flows.contains(object.cookie)) << "not bound";
    const Flow& flow = flows.at(object.cookie);
    EXPECT_EQ(program->told()[0].local, flow.open.addresses.local_port);
    EXPECT_EQ(program->told()[0].remote, flow.open.addresses.remote_port);
    EXPECT_TRUE(flow.open.flags & IT_FLOW_EXISTED);
    EXPECT_EQ(server ? IT_ROLE_SERVER : IT_ROLE_CLIENT, flow.open.role);
  }
}

}  // namespace
}  // namespace infertrail::testing_kernel
