// Back-pressure: who is stopped, that nothing is lost, and that nobody stays stopped.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "capture/strict.h"
#include "kernel/daemon_child.h"
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

using namespace std::chrono_literals;

// R, S, T (stopped), t (traced), Z…; 0: gone.
char state_of(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t at = text.rfind(')');
  return at == std::string::npos || at + 2 >= text.size() ? '\0' : text[at + 2];
}

bool becomes(uint32_t pid, char state, std::chrono::milliseconds patience = 20s) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (state_of(pid) != state) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

class StrictTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  }
  void TearDown() override { strict_.reset(); }
  void open(uint64_t ring) {
    ProbeOptions options;
    options.data_ring_bytes = ring;
    auto opened = Stand::open(options);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    stand_ = std::move(opened.value());
  }
  void protect(StrictOptions options = {}) {
    auto opened = Strict::open(stand_->probes(), options);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    strict_ = std::move(opened.value());
    std::this_thread::sleep_for(50ms);   // the first heartbeat
  }
  // A server that reads much in small calls, and a client that sends it.
  void pair(const std::string& request = "request=33554432") {
    pair_ = std::make_unique<Pair>(std::vector<std::string>{"tls=1", "read_size=8192"},
                                   std::vector<std::string>{"tls=1", request, "write_size=8192", "response=10"});
    stand_->watch(pair_->server, true);
  }
  uint32_t server() { return pair_->server.pid(); }

  std::unique_ptr<Stand> stand_;
  std::unique_ptr<Strict> strict_;
  std::unique_ptr<Pair> pair_;
};

TEST_F(StrictTest, NothingIsLostWhenTheReaderIsSlow) {
  open(1 << 20);
  protect();
  pair();
  pair_->go();
  std::atomic<bool> done{false};
  std::thread reader([&] {   // reads only when the producer waits for it
    while (!done) {
      std::this_thread::sleep_for(1ms);
      if (strict_->counts().held_now > 0) stand_->round();
    }
  });
  pair_->finish();
  done = true;
  reader.join();
  EXPECT_GT(strict_->counts().stops, 5u);
  EXPECT_EQ(0u, strict_->counts().unprotected);
  EXPECT_EQ("", stand_->losses());
  expect_tls(*stand_, pair_->server.told()[0], true);
}

TEST_F(StrictTest, WithoutADaemonThatIsAliveNobodyIsStopped) {
  open(256 << 10);
  protect();
  strict_.reset();   // the mark goes with it: set again, with a heartbeat of long ago
  const uint32_t mark = IT_STRICT_MARK, heartbeat = IT_STRICT_HEARTBEAT;
  const uint64_t bytes = 128 << 10, long_ago = 1;
  ASSERT_EQ(0, bpf_map_update_elem(stand_->probes().map_fd("strict"), &mark, &bytes, BPF_ANY));
  ASSERT_EQ(0, bpf_map_update_elem(stand_->probes().map_fd("strict"), &heartbeat, &long_ago, BPF_ANY));
  pair("request=4194304");
  pair_->go();
  pair_->finish();   // it ends, although nobody reads
  const uint32_t unprotected = IT_STRICT_UNPROTECTED;
  uint64_t times = 0;
  ASSERT_EQ(0, bpf_map_lookup_elem(stand_->probes().map_fd("strict"), &unprotected, &times));
  EXPECT_GT(times, 0u);
  EXPECT_EQ(0u, stand_->probes().entries("stopped"));
}

TEST_F(StrictTest, NobodyIsHeldLongerThanAllowed) {
  open(256 << 10);
  StrictOptions options;
  options.max_hold = 500ms;
  protect(options);
  pair("request=4194304");
  pair_->go();
  ASSERT_TRUE(becomes(server(), 'T'));
  pair_->finish();   // nobody reads: it is let go, and loses
  EXPECT_GT(strict_->counts().unprotected, 0u);
  EXPECT_GT(stand_->probes().losses()[IT_LOSS_RING_FULL].bytes, 0u);
  EXPECT_EQ(0u, stand_->probes().entries("stopped"));
}

TEST_F(StrictTest, Trap38_WhatSomebodyElseStoppedStaysStopped) {
  open(256 << 10);
  protect();
  pair();
  pair_->go();
  ASSERT_TRUE(becomes(server(), 'T'));
  ::kill(static_cast<pid_t>(server()), SIGSTOP);
  for (int i = 0; i < 20; i++) stand_->round();   // the ring is empty now
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ('T', state_of(server()));
  ::kill(static_cast<pid_t>(server()), SIGCONT);
  stand_->start();
  pair_->finish();
  stand_->stop();
  EXPECT_EQ("", stand_->losses());
}

TEST_F(StrictTest, Trap38_ATracedProcessIsLeftToItsDebugger) {
  open(256 << 10);
  protect();
  pair("request=4194304");
  ASSERT_EQ(0, ptrace(PTRACE_SEIZE, static_cast<pid_t>(server()), nullptr, nullptr));
  pair_->go();
  pair_->client.finish();
  EXPECT_EQ(0u, strict_->counts().stops);
  EXPECT_GT(strict_->counts().unprotected, 0u);
}

TEST_F(StrictTest, Trap38_AParentThatWaitsForStopsSeesBoth) {
  open(256 << 10);
  protect();
  pair();
  pair_->go();
  int status = 0;
  ASSERT_EQ(static_cast<pid_t>(server()), waitpid(static_cast<pid_t>(server()), &status, WUNTRACED));
  EXPECT_TRUE(WIFSTOPPED(status));
  stand_->start();
  ASSERT_EQ(static_cast<pid_t>(server()), waitpid(static_cast<pid_t>(server()), &status, WCONTINUED));
  EXPECT_TRUE(WIFCONTINUED(status));
  pair_->finish();
  stand_->stop();
  EXPECT_EQ("", stand_->losses());
}

TEST_F(StrictTest, Trap38_ADaemonThatIsKilledLeavesNobodyStopped) {
  open(256 << 10);
  DaemonChild daemon(
      [&] {
        auto strict = Strict::open(stand_->probes());
        return strict.ok() ? std::move(strict.value()) : nullptr;
      },
      [](Strict&) {});
  ASSERT_TRUE(daemon.began());
  std::this_thread::sleep_for(100ms);
  pair();
  pair_->go();
  ASSERT_TRUE(becomes(server(), 'T'));
  daemon.kill();
  const auto died = std::chrono::steady_clock::now();
  EXPECT_TRUE(stand_->wait([&] { return state_of(server()) != 'T' && stand_->probes().entries("stopped") == 0; }));
  EXPECT_LT(std::chrono::steady_clock::now() - died, 3s);
  stand_->start();
  pair_->finish();
  stand_->stop();
}

TEST_F(StrictTest, Trap38_Pid1OfAContainerIsStoppedAndContinued) {
  open(256 << 10);
  protect();
  Fd own(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(0, unshare(CLONE_NEWPID));
  pair();   // its server is the first child in the new namespace
  ASSERT_EQ(0, setns(own.get(), CLONE_NEWPID));
  const uint32_t init = server();
  pair_->go();
  ASSERT_TRUE(becomes(init, 'T'));
  stand_->start();
  pair_->finish();
  stand_->stop();
  ASSERT_EQ(1u, pair_->server.told()[0].pid) << "it is pid 1";
  EXPECT_GT(strict_->counts().stops, 0u);
  EXPECT_EQ("", stand_->losses());
  EXPECT_NE('T', state_of(init));
}

}  // namespace
}  // namespace infertrail::testing_kernel
