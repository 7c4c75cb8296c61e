// What programs do with connections that has broken captures before: every test has the number of its
// row in tests/TRAPS.md.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

namespace fs = std::filesystem;

// The folder that libssl and libcrypto of this process were loaded from.
fs::path library_folder() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (const size_t at = line.find('/'); at != std::string::npos && line.find("libcrypto.so") != std::string::npos)
      return fs::path(line.substr(at)).parent_path();
  return {};
}

class TrapsTest : public SharedStand {
 protected:
  void both_ends(std::vector<std::string> server, std::vector<std::string> client, size_t connections, bool tls) {
    if (tls) server.push_back("tls=1"), client.push_back("tls=1");
    pair_ = std::make_unique<Pair>(server, client);
    stand().watch(pair_->server, tls);
    stand().watch(pair_->client, tls);
    pair_->go();
    pair_->finish();
    compare(connections, tls);
  }

  void compare(size_t connections, bool tls) {
    ASSERT_EQ(connections, pair_->client.told().size());
    ASSERT_EQ(connections, pair_->server.told().size());
    for (const Told& told : pair_->client.told())
      tls ? expect_tls(stand(), told, false) : expect_plain(stand(), told, told.pid, false);
    for (const Told& told : pair_->server.told())
      tls ? expect_tls(stand(), told, true) : expect_plain(stand(), told, pair_->server.pid(), true);
  }

  // Objects of both ends that were bound are bound to their own sockets, and none lacks a byte. How many
  // were bound.
  size_t expect_never_wrong() {
    size_t bound = 0;
    for (const Program* program : {&pair_->client, &pair_->server})
      for (const Told& told : program->told()) {
        Object object;
        EXPECT_TRUE(stand().wait([&] {
          for (Object& each : stand().seen().objects_of(told.pid))
            if (each.closed && each.half[IT_OUT].sha() == told.out_sha) object = each;
          return object.closed;
        })) << "nothing whole was captured of pid " << told.pid;
        EXPECT_EQ(told.in_sha, object.half[IT_IN].sha());
        if (object.cookie == 0) continue;
        EXPECT_EQ(told.cookie, object.cookie) << "bound to another's socket";
        bound++;
      }
    return bound;
  }

  std::unique_ptr<Pair> pair_;
};

TEST_F(TrapsTest, Trap07_ACopyOfADescriptorIsTheSameConnection) {
  both_ends({"conns=10", "dup=1"}, {"conns=10", "random=20000"}, 10, true);
}

TEST_F(TrapsTest, Trap07_AConnectionHandedToAnotherProcessPlain) {
  both_ends({"conns=10", "hand=1"}, {"conns=10", "random=20000"}, 10, false);
}

TEST_F(TrapsTest, Trap07_AConnectionHandedToAnotherProcessTls) {
  both_ends({"conns=10", "hand=1"}, {"conns=10", "random=20000"}, 10, true);
  EXPECT_NE(pair_->server.pid(), pair_->server.told()[0].pid);
}

TEST_F(TrapsTest, Trap07_AChildForEachConnection) {
  both_ends({"conns=10", "hand=2"}, {"conns=10", "random=20000"}, 10, true);
}

TEST_F(TrapsTest, Trap07_PeekedBytesCountOnce) {
  both_ends({"conns=3", "peek=1"}, {"conns=3", "peek=1", "random=20000"}, 3, false);
}

TEST_F(TrapsTest, Trap19_FiftyProcessesOnOneLibraryAreOneRecordPerCall) {
  both_ends({"conns=50"}, {"forks=50", "request=3000", "response=3000"}, 50, true);
  size_t objects = 0;
  for (const Told& told : pair_->client.told())
    for (const Object& object : stand().seen().objects_of(told.pid)) {
      EXPECT_EQ(1u, object.half[IT_OUT].records) << "one SSL_write, one record";
      objects++;
    }
  EXPECT_EQ(50u, objects);
}

TEST_F(TrapsTest, Trap21_ProcessesThatShareOneCpuDoNotMix) {
  both_ends({"cpu=0", "workers=4", "conns=10", "write_size=700", "read_size=900"},
            {"cpu=0", "forks=8", "conns=5", "random=60000", "write_size=500", "read_size=1300"}, 40, true);
}

TEST_F(TrapsTest, Trap36_V4MappedConnectionsEndAndKeepNothing) {
  both_ends({"mapped=1", "conns=5"}, {"conns=5"}, 5, true);
  both_ends({"mapped=1", "conns=5"}, {"conns=5"}, 5, false);
}

TEST_F(TrapsTest, Trap36_ConnectionsOverUnixSocketsEndAndKeepNothing) {
  std::map<std::string, size_t> start;
  for (const char* map : {"tls_objects", "calls", "small", "fingerprints"}) start[map] = stand().probes().entries(map);
  const std::string path = testing::TempDir() + "it_unix_" + std::to_string(getpid());
  pair_ = std::make_unique<Pair>(std::vector<std::string>{"tls=1", "version=1.2", "conns=5", "unix=" + path},
                                 std::vector<std::string>{"tls=1", "version=1.2", "conns=5", "unix=" + path});
  stand().watch(pair_->server, true);
  stand().watch(pair_->client, true);
  pair_->go();
  pair_->finish();
  unlink(path.c_str());
  for (const Program* program : {&pair_->client, &pair_->server})
    for (const Told& told : program->told()) {
      EXPECT_TRUE(stand().wait([&] {
        for (const Object& each : stand().seen().objects_of(told.pid))
          if (each.half[IT_OUT].sha() == told.out_sha && each.half[IT_IN].sha() == told.in_sha) return true;
        return false;
      }));
      for (const Object& each : stand().seen().objects_of(told.pid)) EXPECT_EQ(0u, each.cookie) << "it has no TCP socket";
    }
  stand().end(pair_->client);
  stand().end(pair_->server);
  for (const char* map : {"tls_objects", "calls", "small"}) EXPECT_EQ(start[map], stand().probes().entries(map)) << map;
}

TEST_F(TrapsTest, Trap37_ALibraryThatWasReplacedOnDiskIsStillCovered) {
  const fs::path folder = fs::path(testing::TempDir()) / ("it_replaced_" + std::to_string(getpid()));
  fs::create_directory(folder);
  auto put = [&](const char* name) {   // as a package manager does: another inode, then rename
    const fs::path next = folder / (std::string(name) + ".new");
    fs::copy_file(library_folder() / name, next);
    fs::rename(next, folder / name);
  };
  for (const char* name : {"libssl.so.3", "libcrypto.so.3"}) put(name);
  setenv("LD_LIBRARY_PATH", folder.c_str(), 1);
  {
    Pair old({"tls=1", "conns=2"}, {"tls=1", "conns=2"});
    for (const char* name : {"libssl.so.3", "libcrypto.so.3"}) put(name);   // both now map "(deleted)" files
    stand().watch(old.server, true);
    stand().watch(old.client, true);
    old.go();
    old.finish();
    for (const Told& told : old.client.told()) expect_tls(stand(), told, false);
    for (const Told& told : old.server.told()) expect_tls(stand(), told, true);
    both_ends({"conns=2"}, {"conns=2"}, 2, true);   // these map the new ones
  }
  unsetenv("LD_LIBRARY_PATH");
  fs::remove_all(folder);
}

TEST_F(TrapsTest, Trap40_BehindATcpProxyInTheSelectionEachObjectKeepsItsOwnSocket) {
  constexpr const char* kConns = "conns=20";
  Program server({"role=server", "tls=1", kConns, "workers=1"});
  Program proxy({"role=proxy", "to=" + std::to_string(server.port()), kConns});
  Program client({"role=client", "tls=1", "forks=4", "conns=5", "random=20000", "port=" + std::to_string(proxy.port())});
  stand().watch(server, true);
  stand().watch(proxy);
  stand().watch(client, true);
  for (Program* program : {&server, &proxy, &client}) program->go();
  client.finish();
  proxy.finish();
  server.finish();
  ASSERT_EQ(20u, client.told().size());
  for (const Told& told : client.told()) expect_tls(stand(), told, false);
  for (const Told& told : server.told()) expect_tls(stand(), told, true);
}

TEST_F(TrapsTest, Trap48_EveryCookieIsTheOneThatTheProgramSees) {
  pair_ = std::make_unique<Pair>(std::vector<std::string>{"conns=2000"},
                                 std::vector<std::string>{"forks=4", "conns=500", "request=10", "response=10"});
  stand().watch(pair_->client);
  pair_->go();
  pair_->finish();
  std::set<uint64_t> told;
  for (const Told& each : pair_->client.told()) told.insert(each.cookie);
  EXPECT_EQ(2000u, told.size());
  EXPECT_FALSE(told.contains(0));
  std::set<uint64_t> seen;
  EXPECT_TRUE(stand().wait([&] {
    for (const auto& [cookie, flow] : stand().seen().flows()) seen.insert(cookie);
    return seen.size() >= told.size();
  }));
  EXPECT_EQ(told, seen);
}

// TLS that does not begin with the connection's first byte, or comes in pieces.
class Trap56 : public TrapsTest {
 protected:
  // `sent`, `answered`: what each end says in clear first.
  void all_bound(const std::string& way, size_t connections, const std::string& sent, const std::string& answered) {
    SCOPED_TRACE(way);
    const std::vector<std::string> arguments = {"tls=1", "conns=" + std::to_string(connections), way, "bio=memory"};
    pair_ = std::make_unique<Pair>(arguments, arguments);
    stand().watch(pair_->server, true);
    stand().watch(pair_->client, true);
    pair_->go();
    pair_->finish();
    EXPECT_EQ(2 * connections, expect_never_wrong());
    for (const Program* program : {&pair_->client, &pair_->server}) {
      const uint8_t out = program == &pair_->client ? IT_OUT : IT_IN;
      const auto flows = stand().seen().flows_of(program->pid());
      ASSERT_EQ(connections, flows.size());
      for (const Flow& flow : flows) {
        EXPECT_TRUE(flow.turned);
        EXPECT_EQ(sent, flow.half[out].bytes) << "nothing of TLS, and all that came before it";
        EXPECT_EQ(answered, flow.half[!out].bytes);
        EXPECT_EQ(sent.size(), flow.tls_from[out]);
        EXPECT_EQ(answered.size(), flow.tls_from[!out]);
        EXPECT_EQ(0, flow.wire.state & (IT_WIRE_LOST_IN | IT_WIRE_LOST_OUT));
      }
    }
    stand().end(pair_->client);
    stand().end(pair_->server);
    EXPECT_EQ("", stand().losses());
  }
};

const std::string kProxy1 = "PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\n";
const std::string kProxy2("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xc3\x50\1\xbb", 28);

TEST_F(Trap56, BehindAProxyHeader) {
  all_bound("header=1", 5, kProxy1, "");
  all_bound("header=2", 5, kProxy2, "");
}

TEST_F(Trap56, BehindAProxyHeaderInOneSegment) {
  all_bound("header=3", 5, kProxy1, "");
  all_bound("header=4", 5, kProxy2, "");
}

TEST_F(Trap56, BehindADialogueInClear) {
  all_bound("header=5", 5, "EHLO me\r\nSTARTTLS\r\n", "220 ready\r\n250 STARTTLS\r\n220 go\r\n");
}

TEST_F(Trap56, AHandshakeOfOneByteSegments) { all_bound("drip=1", 3, "", ""); }

// The answer is 16 03, and then nothing.
TEST_F(Trap56, WhatIsHeldBackAtTheEndIsThere) { both_ends({"conns=1", "seed=33281"}, {"conns=1", "response=2"}, 1, false); }

// Its first bytes were held back, and are there.
TEST_F(Trap56, WhatOnlyLooksLikeTheBeginningIsPlain) {
  all_bound("header=6", 5, "\x16\x03\x16nothing", "what?");
  pair_ = std::make_unique<Pair>(std::vector<std::string>{"conns=5", "header=6"}, std::vector<std::string>{"conns=5", "header=6"});
  stand().watch(pair_->client);
  pair_->go();
  pair_->finish();
  for (const Told& told : pair_->client.told()) {
    Flow flow;
    ASSERT_TRUE(stand().wait([&] {
      flow = stand().seen().flows()[told.cookie];
      return flow.closed;
    }));
    EXPECT_FALSE(flow.turned);
    EXPECT_EQ("\x16\x03\x16nothing", flow.half[IT_OUT].bytes.substr(0, 10));
    EXPECT_EQ(10 + told.out, flow.half[IT_OUT].seen_bytes());
    EXPECT_EQ(5 + told.in, flow.half[IT_IN].seen_bytes());
  }
}

}  // namespace
}  // namespace infertrail::testing_kernel
