// The daemon dies, is replaced, hands over: what is said meanwhile is in the rings, once and whole.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <set>
#include <thread>

#include "base/file.h"
#include "capture/pins.h"
#include "capture/ring_backlog.h"
#include "capture/uprobe_link.h"
#include "kernel/restarted.h"
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

using namespace std::chrono_literals;

const bool in_guest = std::getenv("VM") != nullptr;   // without KVM everything takes 10 to 30 times as long

int kills() {
  const char* text = std::getenv("IT_RESTARTS");
  return text ? std::atoi(text) : in_guest ? 4 : 12;
}

// Exchanges on one connection, one after the other, until it is told to stop.
class Traffic {
 public:
  Traffic(std::vector<std::string> server, std::vector<std::string> client, int parts)
      : pair_(std::move(server), with_parts(std::move(client), parts)), left_(parts) {}
  ~Traffic() { stop(); }
  Program& server() { return pair_.server; }
  std::string selector() { return "pid=" + std::to_string(pair_.server.pid()); }
  void start() {
    pair_.go();
    thread_ = std::thread([this] {
      while (--left_ > 0) {
        pair_.client.expect("part");
        done_++;
        if (!stopped_ && pause_.count() > 0) std::this_thread::sleep_for(pause_);
        pair_.client.go();
      }
    });
  }
  void pace(std::chrono::microseconds pause) { pause_ = pause; }
  void stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint64_t done() const { return done_; }
  // What the server says about it, when it is over.
  const std::vector<Told>& told() {
    stop();
    pair_.finish();
    return pair_.server.told();
  }

 private:
  static std::vector<std::string> with_parts(std::vector<std::string> arguments, int parts) {
    arguments.push_back("parts=" + std::to_string(parts));
    return arguments;
  }
  Pair pair_;
  std::atomic<int> left_;
  std::atomic<bool> stopped_{false};
  std::atomic<uint64_t> done_{0};
  std::chrono::microseconds pause_{0};
  std::thread thread_;
};

class RestartTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    struct stat there {};
    if (stat("/sys/fs/bpf/.", &there) != 0) GTEST_SKIP() << "no BPF file system is mounted";
  }
};

using NextId = int (*)(uint32_t, uint32_t*);
std::set<uint32_t> ids(NextId next_id) {
  std::set<uint32_t> out;
  for (uint32_t id = 0; next_id(id, &id) == 0;) out.insert(id);
  return out;
}

std::vector<std::set<uint32_t>> everything_loaded() {
  return {ids(bpf_prog_get_next_id), ids(bpf_map_get_next_id), ids(bpf_link_get_next_id)};
}

Told other_end(const Told& told) {
  Told out = told;
  std::swap(out.local, out.remote);
  std::swap(out.in, out.out);
  std::swap(out.in_sha, out.out_sha);
  return out;
}

// What is loaded now and was not then.
size_t more_than(const std::vector<std::set<uint32_t>>& before) {
  const auto now = everything_loaded();
  size_t out = 0;
  for (size_t i = 0; i < now.size(); i++)
    for (uint32_t id : now[i]) out += !before[i].contains(id);
  return out;
}

// Programs and maps are freed after a grace period.
bool comes_back_to(const std::vector<std::set<uint32_t>>& before) {
  for (int i = 0; i < patience_seconds() * 10; i++) {
    if (more_than(before) == 0) return true;
    std::this_thread::sleep_for(100ms);
  }
  return false;
}

std::string only_folder(const std::string& pins) {
  auto names = list_dir(pins);
  return names.ok() && names.value().size() == 1 ? pins + "/" + names.value()[0] : "";
}

TEST_F(RestartTest, Trap23_KillNineAtAnyTimeLosesNoByte) {
  std::mt19937 chance(23);
  const int exchanges = in_guest ? 300 : 250 * kills();
  Traffic plain({}, {"request=3000", "response=5000", "random=3000"}, exchanges);
  Traffic tls({"tls=1"}, {"tls=1", "request=3000", "response=5000", "random=3000"}, exchanges);
  Program many({"role=server", "tls=1", "conns=100000"});
  std::vector<std::string> selectors = {plain.selector(), tls.selector(), "pid=" + std::to_string(many.pid())};
  Restarted daemon;
  daemon.start(selectors);
  plain.pace(2ms);
  tls.pace(2ms);
  plain.start();
  tls.start();
  many.go();
  std::atomic<bool> stopped{false};
  std::vector<Told> shorts;   // as the server has them
  std::thread churn([&] {   // a connection that begins and ends anywhere, also while no daemon runs
    while (!stopped && shorts.size() < 3000) {   // a line each: the server's pipe holds 1 MiB
      Program client({"role=client", "gate=0", "tls=1", "port=" + std::to_string(many.port())});
      for (const Told& told : client.finish()) shorts.push_back(other_end(told));
    }
  });
  uint64_t found = 0;
  for (int i = 0; i < kills(); i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(chance() % 400));
    daemon.kill();
    std::this_thread::sleep_for(std::chrono::milliseconds(chance() % 300));
    if (i % 2 == 1) {   // this one does not get far: anywhere between its first step and its loop
      daemon.begin(selectors);
      std::this_thread::sleep_for(std::chrono::milliseconds(chance() % (in_guest ? 5000 : 500)));
      daemon.kill();
    }
    daemon.start(selectors);
    EXPECT_THAT(daemon.said("adopted"), testing::HasSubstr("adopted 1 killed"));
    found += daemon.said("adopted").find("records=0") == std::string::npos;
  }
  stopped = true;
  churn.join();
  EXPECT_EQ("", daemon.wait(plain.told(), false));
  EXPECT_EQ("", daemon.wait(tls.told(), true));
  EXPECT_EQ("", daemon.wait(shorts, true));
  EXPECT_EQ(0u, daemon.captured().lost);
  EXPECT_GT(found, 0u) << "records waited in the rings at a restart";
  std::printf("  %d kills, %lu + %lu exchanges on two connections, %zu short ones\n", kills(), plain.done(), tls.done(),
              shorts.size());
  daemon.stop();
}

// As the trap was measured: one thread's calls, counted by their bytes.
TEST_F(RestartTest, Trap53_FourHandOversAndFiveKillsInTwoHundredThousandCalls) {
  const int parts = in_guest ? 100 : 2000;   // of 100 calls
  Traffic tls({"tls=1", "read_size=100"}, {"tls=1", "request=10000", "response=100", "write_size=100"}, parts);
  Restarted daemon;
  daemon.start({tls.selector()});
  tls.start();
  for (int i = 0; i < 9; i++) {
    const uint64_t until = tls.done() + static_cast<uint64_t>(parts) / 15;
    for (int tries = 0; tries < 1000 && tls.done() < until; tries++) std::this_thread::sleep_for(5ms);
    i % 2 == 1 ? daemon.hand_over() : daemon.kill();
    daemon.start({tls.selector()});
    EXPECT_THAT(daemon.said("adopted"),
                testing::HasSubstr(i % 2 == 1 ? "adopted 1 handed_over" : "adopted 1 killed"));
  }
  const auto& told = tls.told();
  ASSERT_EQ(1u, told.size());
  EXPECT_GE(told[0].calls, static_cast<uint64_t>(parts) * 100);
  EXPECT_EQ("", daemon.wait(told, true));
  EXPECT_EQ(0u, daemon.captured().lost);
  daemon.stop();
}

TEST_F(RestartTest, Trap53_AnotherVersionSaysWhatItCouldNotReadAndCapturesOn) {
  Traffic first({}, {"request=20000", "response=20000"}, 20);
  Restarted daemon;
  daemon.start({first.selector()});
  daemon.kill();
  first.start();
  first.told();   // all of it while no daemon runs
  const std::string folder = only_folder(daemon.pins());
  ASSERT_NE("", folder);
  Fd ring(bpf_obj_get((folder + "/maps/data_ring").c_str()));
  Fd control(bpf_obj_get((folder + "/maps/control_ring").c_str()));
  auto data = ring_backlog(ring.get()), others = ring_backlog(control.get());
  ASSERT_TRUE(data.ok() && others.ok());
  EXPECT_GT(data.value().bytes, 20u * 40000u);
  // What another version would have left there.
  ASSERT_EQ(0, rename(folder.c_str(), (daemon.pins() + "/v0123456789abcdef").c_str()));
  Traffic second({}, {"request=20000", "response=20000"}, 20);
  daemon.start({second.selector()});
  EXPECT_THAT(daemon.said("adopted"), testing::HasSubstr("adopted 0"));
  uint64_t records = 0, bytes = 0;
  ASSERT_EQ(2, std::sscanf(daemon.said("abandoned").c_str(), "abandoned records=%lu bytes=%lu", &records, &bytes));
  EXPECT_EQ(data.value().bytes, bytes);
  // At least: every process that executes is told, this daemon too.
  EXPECT_GE(records, data.value().records + others.value().records);
  EXPECT_LE(records, data.value().records + others.value().records + 100);
  EXPECT_NE(0, access((daemon.pins() + "/v0123456789abcdef").c_str(), F_OK));
  second.start();
  EXPECT_EQ("", daemon.wait(second.told(), false));
  daemon.stop();
}

TEST_F(RestartTest, Trap54_LinksArePinnedInTheFormThatThisKernelHas) {
  Traffic tls({"tls=1"}, {"tls=1", "request=3000", "response=5000"}, 100);
  Restarted daemon;
  daemon.start({tls.selector()});
  daemon.kill();
  const std::string folder = only_folder(daemon.pins()) + "/links";
  const std::string generation = only_folder(folder);
  ASSERT_NE("", generation);
  auto names = list_dir(generation);
  ASSERT_TRUE(names.ok());
  std::map<uint32_t, int> types;
  for (const std::string& name : names.value()) {
    Fd link(bpf_obj_get((generation + "/" + name).c_str()));
    ASSERT_TRUE(link.valid()) << name;
    bpf_link_info info{};
    uint32_t length = sizeof(info);
    ASSERT_EQ(0, bpf_obj_get_info_by_fd(link.get(), &info, &length)) << name;
    EXPECT_NE(0u, info.prog_id) << name << ": a link without its program";
    if (name.find("library") != std::string::npos) types[info.type]++;
  }
  constexpr uint32_t kLinkUprobeMulti = 12;   // BPF_LINK_TYPE_UPROBE_MULTI, Linux 6.6
  const uint32_t expected =
      kernel_has_uprobe_multi() ? kLinkUprobeMulti : static_cast<uint32_t>(BPF_LINK_TYPE_PERF_EVENT);
  ASSERT_EQ(1u, types.size());
  EXPECT_EQ(expected, types.begin()->first);
  std::printf("  %d links of libraries, type %u\n", types.begin()->second, expected);
  tls.start();
  tls.told();   // nobody runs
  daemon.start({tls.selector()});
  EXPECT_EQ("", daemon.wait(tls.told(), true));
  daemon.stop();
}

TEST_F(RestartTest, ACallThatWaitsOverARestartIsReadByTheNewPrograms) {
  Traffic tls({"tls=1"}, {"tls=1", "request=3000", "response=5000"}, 8);
  Restarted daemon;
  daemon.start({tls.selector()});
  tls.pace(700ms);   // between two exchanges the server waits in SSL_read
  tls.start();
  for (int i = 0; i < 3; i++) {
    std::this_thread::sleep_for(500ms);
    daemon.kill();
    daemon.start({tls.selector()});
  }
  EXPECT_EQ("", daemon.wait(tls.told(), true));
  daemon.stop();
}

TEST_F(RestartTest, WhoStartedAndEndedWhileNoDaemonRanIsCaptured) {
  Program server({"role=server", "conns=3"});
  Restarted daemon;
  // The clients are chosen by name: their exec waits in the ring, they are gone when it is read.
  daemon.start({"pid=" + std::to_string(server.pid()), "comm=it_peer"});
  server.go();
  daemon.kill();
  std::vector<Told> told;
  for (int i = 0; i < 3; i++) {
    Program client({"role=client", "gate=0", "port=" + std::to_string(server.port())});
    client.finish();
    told.push_back(client.told().at(0));
    client.end();
  }
  daemon.start({"pid=" + std::to_string(server.pid()), "comm=it_peer"});
  EXPECT_EQ("", daemon.wait(told, false)) << "the clients' ends";
  server.finish();
  EXPECT_EQ("", daemon.wait(server.told(), false)) << "the server's ends";
  daemon.stop();
}

TEST_F(RestartTest, ATargetThatEndedWhileNoDaemonRanIsCapturedToItsEnd) {
  auto pair = std::make_unique<Pair>(std::vector<std::string>{"tls=1", "conns=2"},
                                     std::vector<std::string>{"tls=1", "conns=2", "request=9000", "response=9000"});
  Restarted daemon;
  const std::string selector = "comm=it_peer";
  daemon.start({selector});
  daemon.kill();
  pair->go();
  pair->finish();
  const std::vector<Told> server = pair->server.told(), client = pair->client.told();
  pair->client.end();
  pair->server.end();
  daemon.start({selector});
  EXPECT_EQ("", daemon.wait(server, true));
  EXPECT_EQ("", daemon.wait(client, true));
  daemon.stop();
}

TEST_F(RestartTest, ACleanStopLeavesNothing) {
  const auto before = everything_loaded();
  Traffic tls({"tls=1"}, {"tls=1"}, 3);
  Restarted daemon;
  daemon.start({tls.selector()});
  daemon.kill();
  daemon.start({tls.selector()});   // with an older generation beside it
  daemon.stop();
  EXPECT_TRUE(comes_back_to(before)) << more_than(before) << " programs, maps and links are left";
  EXPECT_NE(0, access(daemon.pins().c_str(), F_OK)) << daemon.pins() << " is still there";
  tls.start();   // the program goes on without us
  EXPECT_EQ(1u, tls.told().size());
}

TEST_F(RestartTest, LeftoversOfADeadDaemonAreRemovedOnRequestAndNeverALivingOnes) {
  const auto before = everything_loaded();
  Restarted daemon;
  daemon.start({});
  auto refused = detach_leftovers(daemon.pins());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(Code::kPermission, refused.error().code);
  auto other = Pins::open(daemon.pins(), "1");
  ASSERT_FALSE(other.ok()) << "two daemons share pins";
  daemon.kill();
  auto removed = detach_leftovers(daemon.pins());
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  ASSERT_EQ(1u, removed.value().size());
  EXPECT_GT(removed.value()[0].links, 5u);
  EXPECT_GT(removed.value()[0].maps, 10u);
  EXPECT_NE(0, access(daemon.pins().c_str(), F_OK));
  EXPECT_TRUE(comes_back_to(before)) << more_than(before) << " programs, maps and links are left";
}

}  // namespace
}  // namespace infertrail::testing_kernel
