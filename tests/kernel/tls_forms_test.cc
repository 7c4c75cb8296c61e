// Ways into libssl beside SSL_read and SSL_write: captured once, or a hole with its length.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

class TlsFormsTest : public SharedStand {
 protected:
  void both_ends(std::vector<std::string> server, std::vector<std::string> client, size_t connections = 1) {
    server.push_back("tls=1");
    client.push_back("tls=1");
    Pair pair(server, client);
    stand().watch(pair.server, true);
    stand().watch(pair.client, true);
    pair.go();
    pair.finish();
    ASSERT_EQ(connections, pair.client.told().size());
    ASSERT_EQ(connections, pair.server.told().size());
    for (const Told& told : pair.client.told()) expect_tls(stand(), told, false);
    for (const Told& told : pair.server.told()) expect_tls(stand(), told, true);
  }
};

TEST_F(TlsFormsTest, Trap44_BioFilterUsersNeverCallSslRead) {
  both_ends({"bio=filter", "response=30000"}, {"bio=filter", "request=30000"});
}

TEST_F(TlsFormsTest, Trap27_APeekIsNotData) {
  both_ends({"peek=1", "read_size=700"}, {"peek=1", "request=20000", "response=20000"});
}

TEST_F(TlsFormsTest, Trap27_EarlyDataIsPartOfTheStream) {
  both_ends({"early=1", "conns=2", "read_size=1000", "response=100"}, {"early=9000", "conns=2", "request=3000"}, 2);
}

TEST_F(TlsFormsTest, AnObjectWithTwoOwnersLivesUntilTheLast) {
  both_ends({"references=1", "response=5000"}, {"references=1", "request=5000"});
}

// What the program gave up is not in the stream unless its record left whole; and nothing else is.
TEST_F(TlsFormsTest, Trap52_AWriteThatIsGivenUpLeavesWhatThePeerGot) {
  for (const char* partial : {"partial=0", "partial=1"}) {
    SCOPED_TRACE(partial);
    Pair pair({"tls=1", "giveup=1"},
              {"tls=1", "giveup=3", partial, "nonblock=1", "sendbuf=4096", "request=8000000"});
    stand().watch(pair.server, true);
    stand().watch(pair.client, true);
    pair.go();
    pair.finish();
    ASSERT_EQ(1u, pair.client.told().size());
    ASSERT_EQ(1u, pair.server.told().size());
    EXPECT_EQ(3u, pair.client.told()[0].want_write) << "the program gave nothing up";
    expect_tls(stand(), pair.server.told()[0], true);
    const auto received = stand().seen().objects_of(pair.server.pid());
    ASSERT_EQ(1u, received.size());
    Object sent;
    ASSERT_TRUE(stand().wait([&] {
      for (const Object& each : stand().seen().objects_of(pair.client.pid())) sent = each;
      return sent.closed;
    }));
    const std::string& theirs = received[0].half[IT_IN].bytes;
    const std::string& ours = sent.half[IT_OUT].bytes;
    EXPECT_LE(ours.size(), theirs.size());
    EXPECT_EQ(ours, theirs.substr(0, ours.size()));
    EXPECT_EQ(ours.size(), sent.end[IT_OUT]);
    EXPECT_LE(theirs.size() - ours.size(), 16384u) << "more than the record that was leaving is missing";
    EXPECT_GE(ours.size(), pair.client.told()[0].out);
  }
}

bool kernel_encrypts() {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return setsockopt(socket.get(), IPPROTO_TCP, TCP_ULP, "tls", 4) == 0 || errno == ENOTCONN;
}

TEST(TlsHoleTest, Trap26_AFileThatTheKernelEncryptsIsAHoleWithALength) {
  if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  if (!kernel_encrypts()) GTEST_SKIP() << "this kernel has no TLS of its own (module tls)";
  auto opened = Stand::open();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  Stand& stand = *opened.value();
  stand.start();
  char path[] = "/tmp/it_ktls_XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(0, ftruncate(fd, 300000));
  close(fd);
  Pair pair({"tls=1", "ktls=1", "file=" + std::string(path)}, {"tls=1", "request=10", "response=300000"});
  stand.watch(pair.server, true);
  pair.go();
  pair.finish();
  unlink(path);
  ASSERT_EQ(1u, pair.server.told().size());
  Object object;
  ASSERT_TRUE(stand.wait([&] {
    for (const Object& each : stand.seen().objects_of(pair.server.pid())) object = each;
    return object.closed;
  }));
  EXPECT_EQ(1u, object.binds);
  EXPECT_EQ(300000u, object.half[IT_OUT].lost_bytes());
  EXPECT_EQ(0u, object.half[IT_OUT].seen_bytes());
  EXPECT_EQ(300000u, object.end[IT_OUT]);
  EXPECT_EQ(300000u, stand.probes().losses()[IT_LOSS_KTLS].bytes);
}

// OpenSSL 3.3 and later, built for CET: its internal functions begin with a dear instruction, and the one
// that writes has a fifth argument.
class NewestOpensslTest : public TlsFormsTest {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(newest_openssl() + "/ok"))
      GTEST_SKIP() << "no tree of scripts/llama_root.sh in the build folder";
    TlsFormsTest::SetUp();
  }
  void forms(std::vector<std::string> server, std::vector<std::string> client, size_t connections = 1) {
    server.push_back(kNewestOpenssl);
    client.push_back(kNewestOpenssl);
    both_ends(server, client, connections);
  }
};

TEST_F(NewestOpensslTest, Trap45_PlainForms) {
  forms({"response=50000"}, {"request=50000", "write_size=3000"});
  forms({"read_size=1"}, {"request=984"});
}
TEST_F(NewestOpensslTest, Trap45_ExForms) {
  forms({"read=ex", "write=ex", "response=50000"}, {"read=ex", "write=ex", "request=50000"});
}
TEST_F(NewestOpensslTest, Trap4_WriteEx2) { forms({"write=ex2", "response=50000"}, {"write=ex2", "request=50000"}); }
TEST_F(NewestOpensslTest, Trap44_BioFilter) { forms({"bio=filter"}, {"bio=filter", "request=30000"}); }
TEST_F(NewestOpensslTest, Trap27_EarlyData) { forms({"early=1", "conns=2"}, {"early=9000", "conns=2"}, 2); }
TEST_F(NewestOpensslTest, Trap3_WantWrite) {
  forms({}, {"nonblock=1", "sendbuf=4096", "request=4000000"});
  forms({}, {"nonblock=1", "partial=1", "sendbuf=4096", "request=4000000"});
}
TEST_F(NewestOpensslTest, Trap13_OneWriteOf64MiB) { forms({}, {"request=67108848"}); }

}  // namespace
}  // namespace infertrail::testing_kernel
