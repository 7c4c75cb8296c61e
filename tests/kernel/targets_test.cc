// Who is captured, from when, and that nothing of a process stays when it is gone.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

// Without reading any event.
void wait_for_child(uint32_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children";
  for (int i = 0; i < patience_seconds() * 100; i++) {
    std::string child;
    if (std::ifstream(path) >> child) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL() << "no child came";
}

class TargetsTest : public SharedStand {
 protected:
  void add(const std::string& selector) {
    auto status = stand().targets().add(selector);
    ASSERT_TRUE(status.ok()) << status.error().message;
  }
  std::map<std::string, size_t> entries() {
    std::map<std::string, size_t> out;
    for (const char* map : {"targets", "tls_objects", "calls", "small"}) out[map] = stand().probes().entries(map);
    return out;
  }
  bool is_back_at(const std::map<std::string, size_t>& start) {
    return stand().wait([&] { return entries() == start; });
  }
};

TEST_F(TargetsTest, Trap18_AShortLifeIsCapturedFromItsFirstByte) {
  Pair servers({"conns=5"}, {"conns=0"});
  add("comm=it_pee?");
  servers.server.go();
  for (int i = 0; i < 5; i++) {
    Program client({"role=client", "gate=0", "request=5000", "port=" + std::to_string(servers.server.port())});
    client.finish();
    ASSERT_EQ(1u, client.told().size());
    expect_plain(stand(), client.told()[0], client.pid(), false);
    stand().end(client);
  }
}

TEST_F(TargetsTest, Trap18_AShortLifeWithAKnownTlsLibraryIsCapturedFromItsFirstByte) {
  Pair servers({"conns=5", "tls=1"}, {"conns=0"});
  add("comm=it_peer");   // the waiting server maps the library: it is probed now
  servers.server.go();
  for (int i = 0; i < 5; i++) {
    Program client({"role=client", "gate=0", "tls=1", "port=" + std::to_string(servers.server.port())});
    client.finish();
    ASSERT_EQ(1u, client.told().size());
    expect_tls(stand(), client.told()[0], false);
    stand().end(client);
  }
}

TEST_F(TargetsTest, AListenerOnAChosenPortIsCapturedBeforeAnybodyReadsEvents) {
  uint16_t port = 0;
  {
    Program finder({"role=server"});
    port = finder.port();
  }
  add("port=" + std::to_string(port));
  Program server({"role=server", "listen_late=1", "port=" + std::to_string(port)});
  stand().stop();   // the kernel alone must choose it
  server.go();
  server.expect("ready");
  Program client({"role=client", "gate=0", "port=" + std::to_string(port)});
  client.finish();
  server.finish();
  stand().start();
  ASSERT_EQ(1u, server.told().size());
  expect_plain(stand(), server.told()[0], server.pid(), true);
  EXPECT_TRUE(stand().targets().is_target(server.pid()));
  EXPECT_TRUE(stand().seen().flows_of(client.pid()).empty());
}

TEST_F(TargetsTest, Trap06_FiveHundredConnectionsLeaveNothing) {
  const auto start = entries();
  Pair pair({"tls=1", "conns=500"}, {"tls=1", "forks=10", "conns=50", "request=10", "response=10"});
  stand().watch(pair.server, true);
  stand().watch(pair.client, true);
  pair.go();
  pair.finish();
  EXPECT_EQ(500u, pair.client.told().size());
  stand().end(pair.server);
  stand().end(pair.client);
  EXPECT_TRUE(is_back_at(start)) << testing::PrintToString(entries());
}

TEST_F(TargetsTest, AProcessKilledInsideASslCallLeavesNothing) {
  const auto start = entries();
  for (int i = 0; i < 3; i++) {
    Pair pair({"tls=1", "read_size=1"}, {"tls=1", "parts=2"});
    stand().watch(pair.server, true);
    stand().watch(pair.client, true);
    pair.go();
    pair.client.expect("part");
    // The server waits in SSL_read for the second request; the client's object is open and idle.
    ASSERT_TRUE(stand().wait([&] { return stand().probes().entries("calls") > start.at("calls"); }));
    EXPECT_GT(stand().probes().entries("tls_objects"), start.at("tls_objects"));
    pair.server.kill();
    pair.client.kill();
  }
  EXPECT_TRUE(is_back_at(start)) << testing::PrintToString(entries());
}

TEST_F(TargetsTest, AThreadThatEndsInsideACallLeavesNothingEither) {
  const auto start = entries();
  Pair pair({"tls=1", "conns=30", "threads=1"}, {"tls=1", "threads=1", "conns=30"});
  stand().watch(pair.server, true);
  stand().watch(pair.client, true);
  pair.go();
  pair.finish();
  // A joined thread may still be on its way out of the kernel.
  EXPECT_TRUE(stand().wait([&] { return stand().probes().entries("calls") <= start.at("calls") + 2; }))
      << "only the two that live have entries, not " << stand().probes().entries("calls");
  stand().end(pair.server);
  stand().end(pair.client);
  EXPECT_TRUE(is_back_at(start)) << testing::PrintToString(entries());
}

TEST_F(TargetsTest, ChildrenOfAProcessThatWasNotChosenAreLetGo) {
  Program server({"role=server"});   // does not accept: the child waits for its answer
  const auto start = entries();
  add("comm=no-such-name");          // from here on every new process is held until decided
  stand().stop();
  // With nobody deciding, the process is pending when it forks.
  Program parent({"role=client", "gate=1", "forks=1", "port=" + std::to_string(server.port())});
  parent.go();
  wait_for_child(parent.pid());
  ASSERT_GE(stand().probes().entries("targets"), start.at("targets") + 2) << "parent and child are held";
  ASSERT_TRUE(stand().wait([&] {   // reads and decides, as the daemon does: now
    return stand().probes().entries("targets") <= start.at("targets");
  }));
  stand().start();
  EXPECT_TRUE(stand().wait([&] { return stand().probes().entries("targets") == start.at("targets"); }));
  EXPECT_FALSE(stand().targets().is_target(parent.pid()));
}

TEST_F(TargetsTest, ATargetThatIsTakenBackIsNotCapturedAnyMore) {
  Pair pair({"conns=2"}, {"conns=2"});
  stand().watch(pair.server);
  auto status = stand().targets().remove("pid=" + std::to_string(pair.server.pid()));
  ASSERT_TRUE(status.ok()) << status.error().message;
  pair.go();
  pair.finish();
  Pair fence({}, {});
  stand().watch(fence.server);
  fence.go();
  fence.finish();
  expect_plain(stand(), fence.server.told()[0], fence.server.pid(), true);
  EXPECT_TRUE(stand().seen().flows_of(pair.server.pid()).empty());
}

}  // namespace
}  // namespace infertrail::testing_kernel
