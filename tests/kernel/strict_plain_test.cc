// Back-pressure on plain TCP: what finds no room in the ring is sent again until it does; nothing is lost,
// nothing is recorded twice or in another order, no end sees an error, and nobody waits for a dead daemon.
#include <bpf/bpf.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "capture/strict.h"
#include "kernel/daemon_child.h"
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

using namespace std::chrono_literals;

class StrictPlainTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    ProbeOptions options;
    options.data_ring_bytes = 1 << 20;
    auto opened = Stand::open(options);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    stand_ = std::move(opened.value());
  }
  void TearDown() override { strict_.reset(); }
  void protect(StrictOptions options = {}) {
    auto opened = Strict::open(stand_->probes(), options);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    strict_ = std::move(opened.value());
    std::this_thread::sleep_for(50ms);   // the first heartbeat
  }
  void pair(bool client_too, const std::string& request, const std::string& response) {
    pair_ = std::make_unique<Pair>(std::vector<std::string>{"response=" + response},
                                   std::vector<std::string>{"request=" + request, "response=" + response});
    stand_->watch(pair_->server);
    if (client_too) stand_->watch(pair_->client);
  }
  uint64_t word(uint32_t which) {
    uint64_t value = 0;
    EXPECT_EQ(0, bpf_map_lookup_elem(stand_->probes().map_fd("strict"), &which, &value));
    return value;
  }
  // Both ends said everything, and heard it.
  void expect_untouched() {
    ASSERT_EQ(1u, pair_->server.told().size());
    ASSERT_EQ(1u, pair_->client.told().size());
    EXPECT_EQ(pair_->client.told()[0].out_sha, pair_->server.told()[0].in_sha);
    EXPECT_EQ(pair_->server.told()[0].out_sha, pair_->client.told()[0].in_sha);
  }
  // A reader that does nothing until somebody waits for it.
  void run_with_a_slow_reader() {
    std::atomic<bool> done{false};
    pair_->go();
    std::thread reader([&] {
      for (uint64_t before = 0; !done; std::this_thread::sleep_for(5ms)) {
        const StrictCounts now = strict_->counts();
        if (now.repeats > before || now.held_now > 0) stand_->round();
        before = now.repeats;
      }
    });
    pair_->finish();
    done = true;
    reader.join();
  }
  void expect_all(bool client_too) {
    EXPECT_GT(strict_->counts().repeats, 3u);
    EXPECT_EQ(0u, strict_->counts().unprotected);
    expect_untouched();
    expect_plain(*stand_, pair_->server.told()[0], pair_->server.pid(), true);
    if (client_too) expect_plain(*stand_, pair_->client.told()[0], pair_->client.pid(), false);
    EXPECT_EQ("", stand_->losses());
  }

  std::unique_ptr<Stand> stand_;
  std::unique_ptr<Strict> strict_;
  std::unique_ptr<Pair> pair_;
};

TEST_F(StrictPlainTest, NothingIsLostOfWhatAServerHears) {
  protect();
  pair(false, "8388608", "10");
  run_with_a_slow_reader();
  expect_all(false);
}

TEST_F(StrictPlainTest, NothingIsLostOfWhatAServerSays) {
  protect();
  pair(false, "10", "8388608");
  run_with_a_slow_reader();
  expect_all(false);
}

TEST_F(StrictPlainTest, NothingIsLostBetweenTwoEndsOfOneHost) {
  protect();
  pair(true, "4194304", "4194304");
  run_with_a_slow_reader();
  expect_all(true);
}

// Without a mark that leaves room: each segment that fails to reserve waits, whole or from its second part on.
TEST_F(StrictPlainTest, AFullRingLosesNothingEither) {
  StrictOptions options;
  options.stop_percent = 100;
  protect(options);
  pair(true, "4194304", "4194304");
  run_with_a_slow_reader();
  expect_all(true);
}

TEST_F(StrictPlainTest, NobodyWaitsLongerThanAllowed) {
  StrictOptions options;
  options.max_hold = 500ms;
  protect(options);
  pair(true, "4194304", "4194304");
  pair_->go();
  pair_->finish();   // nobody reads: it goes on, and loses
  EXPECT_GT(strict_->counts().unprotected, 0u);
  EXPECT_GT(stand_->probes().losses()[IT_LOSS_RING_FULL].bytes, 0u);
  expect_untouched();
}

TEST_F(StrictPlainTest, Trap38_NobodyWaitsForADaemonThatWasKilled) {
  DaemonChild daemon(
      [&] {
        auto strict = Strict::open(stand_->probes());
        return strict.ok() ? std::move(strict.value()) : nullptr;
      },
      [](Strict&) {});
  ASSERT_TRUE(daemon.began());
  std::this_thread::sleep_for(100ms);
  pair(true, "4194304", "4194304");
  pair_->go();
  EXPECT_TRUE(stand_->seen().flows().empty()) << "nobody reads";
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(patience_seconds());
  while (word(IT_STRICT_REPEATS) == 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
  EXPECT_GT(word(IT_STRICT_REPEATS), 0u);
  EXPECT_EQ("", stand_->losses()) << "nothing is lost while a daemon may still read";
  daemon.kill();
  pair_->finish();
  expect_untouched();
  EXPECT_GT(stand_->probes().losses()[IT_LOSS_RING_FULL].bytes, 0u);
}

}  // namespace
}  // namespace infertrail::testing_kernel
