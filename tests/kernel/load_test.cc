#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "capture/kernel_needs.h"
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

TEST(LoadTest, Trap55_EveryProgramLoadsAndWhatIsMissingIsSaid) {
  if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  auto probes = Probes::open({});
  ASSERT_TRUE(probes.ok()) << probes.error().message;
  const bool kprobes = access("/sys/bus/event_source/devices/kprobe/type", R_OK) == 0;
  std::map<std::string, ProbeFeature> features;
  for (const ProbeFeature& feature : probes.value()->features()) {
    EXPECT_NE("", feature.detail) << feature.name;
    features[feature.name] = feature;
    std::printf("  %-22s %s %s\n", feature.name.c_str(), feature.ok ? "yes" : "no ", feature.detail.c_str());
  }
  for (const char* name : {"sched_process_exec", "sched_process_fork", "sched_process_exit", "inet_sock_set_state",
                           "sys_enter_mmap", "sys_exit_mmap", "sys_exit_accept4", "sys_exit_accept", "cgroup_skb"})
    EXPECT_TRUE(features[name].ok) << name;
  for (const char* name : {"kprobe tcp_sendmsg", "kprobe tcp_recvmsg"}) EXPECT_EQ(kprobes, features[name].ok) << name;
  if (!kprobes) {
    EXPECT_EQ("not here; flow owners come from accept", features["kprobe tcp_sendmsg"].detail);
  }
}

// Runs on 5.10 too (scripts/test --all-kernels), where it is the only one that can.
TEST(LoadTest, AKernelThatIsTooOldIsRefusedWithWhatItLacks) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string lacks = missing_kernel_features();
  auto probes = Probes::open({});
  if (lacks.empty()) {
    ASSERT_TRUE(probes.ok()) << probes.error().message;
    return;
  }
  ASSERT_FALSE(probes.ok());
  EXPECT_EQ("kernel " + kernel_release() + " lacks " + lacks + ": capture needs kernel 6.1 or later",
            probes.error().message);
}

TEST(LoadTest, NothingActsBeforeItIsArmed) {
  if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  auto stand = Stand::open();
  ASSERT_TRUE(stand.ok()) << stand.error().message;
  stand.value()->probes().disarm();
  Pair pair({}, {});
  stand.value()->watch(pair.server);
  pair.go();
  pair.finish();
  stand.value()->end(pair.server);
  EXPECT_EQ(0u, stand.value()->seen().data_records());
}

TEST(LoadTest, ConnectionsOlderThanTheProbesKeepTheirRolesAndOffsets) {
  if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  Pair pair({}, {"parts=2"});
  pair.go();
  pair.client.expect("part");   // established and used, and nothing of ours is loaded
  auto stand = Stand::open();
  ASSERT_TRUE(stand.ok()) << stand.error().message;
  stand.value()->watch(pair.server);
  stand.value()->watch(pair.client);
  pair.client.go();
  pair.finish();
  for (Program* program : {&pair.client, &pair.server}) {
    const bool server = program == &pair.server;
    SCOPED_TRACE(server ? "server" : "client");
    Flow flow;
    ASSERT_TRUE(stand.value()->wait([&] {
      auto flows = stand.value()->seen().flows_of(program->pid());
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

TEST(LoadTest, ARefusedHookIsAnErrorThatNamesIt) {
  if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
  ProbeOptions options;
  options.cgroup_root = "/proc";   // not a cgroup
  auto opened = Probes::open(options);
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message, testing::HasSubstr("attach cgroup_skb at /proc"));
}

}  // namespace
}  // namespace infertrail::testing_kernel
