#include "cli/status_command.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/doctor_command.h"

namespace infertrail::cli {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

StatusReply running() {
  StatusReply status;
  status.set_version("0.1.0");
  status.set_pid(99);
  status.mutable_started()->set_seconds(1767225600);
  status.set_trail("/t");
  status.set_origin("host/log");
  status.set_size(120);
  status.set_published(118);
  status.add_selectors("auto");
  TargetProcess* process = status.add_processes();
  process->mutable_process()->set_pid(42);
  process->mutable_process()->set_comm("vllm");
  process->set_coverage("TLS NOT VISIBLE (2 connections)");
  process->set_selector("auto: vllm");
  return status;
}

TEST(Status, SaysWhatRunsAndWhatIsSeen) {
  Timestamp now;
  now.set_seconds(1767225600 + 3600);
  const std::string text = status_text(running(), now, {});
  for (const char* part : {"infertraild 0.1.0, pid 99", "(1h00m)", "120 entries, 118 published; origin host/log",
                           "lost      nothing", "targets   auto", "42  vllm", "TLS NOT VISIBLE (2 connections)"})
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
}

TEST(Status, LossesAreNamed) {
  StatusReply status = running();
  Loss* loss = status.add_losses();
  loss->set_kind("ring_full");
  loss->set_events(3);
  loss->set_bytes(2048);
  const std::string text = status_text(status, status.started(), {});
  EXPECT_TRUE(has(text, "lost      ring_full: 3 events, 2.0 KiB")) << text;
  EXPECT_FALSE(has(text, "lost      nothing"));
}

TEST(Status, TheRingItsPressureAndTheCanaryAreSaidInWords) {
  StatusReply status = running();
  status.set_ring_bytes(64 << 20);
  status.set_ring_waiting(16 << 20);
  status.mutable_backpressure()->set_mode("count");
  status.mutable_coverage()->set_plain(3);
  status.mutable_coverage()->set_tls(5);
  status.mutable_coverage()->set_read(4);
  status.mutable_canary()->set_state("seen");
  status.mutable_canary()->mutable_last_seen()->set_seconds(status.started().seconds());
  Timestamp now = status.started();
  now.set_seconds(now.seconds() + 12);
  std::string text = status_text(status, now, {});
  for (const char* part : {"ring      16.0 MiB of 64.0 MiB wait (25 %); what finds no room is lost and counted",
                           "coverage  3 connections in the clear, 4 of 5 TLS connections read\n",
                           "canary    seen 12.00s ago"})
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  status.mutable_backpressure()->set_mode("strict");
  status.mutable_backpressure()->set_stops(7);
  status.mutable_backpressure()->set_repeats(9);
  status.mutable_backpressure()->set_unprotected(2);
  status.mutable_coverage()->set_dark(2);
  status.mutable_coverage()->set_dark_now(1);
  status.mutable_coverage()->set_incomplete(1);
  status.mutable_canary()->set_state("NOT SEEN");
  status.mutable_canary()->set_detail("SSL_read");
  Loss* loss = status.add_losses();
  loss->set_kind("orphans");
  text = status_text(status, now, {});
  for (const char* part : {"(backpressure: strict): 7 stops, 0 held now, 9 segments repeated", "unprotected 2 times",
                           "TLS NOT VISIBLE on 2, 1 of them open now", "TLS PLAINTEXT MISSING on 1",
                           "canary    NOT SEEN: SSL_read; last seen 12.00s ago",
                           "(first bytes whose connection never appeared)"})
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
}

TEST(Status, NobodyMonitoredComesWithAWayOut) {
  StatusReply status = running();
  status.clear_processes();
  EXPECT_TRUE(has(status_text(status, status.started(), {}), "infertrail target discover"));
}

class DoctorHost : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/infertrail-doctor-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    host_.proc = root_ + "/proc";
    host_.sys = root_ + "/sys";
    host_.kernel_release = "6.1.0-52-amd64";
    for (const char* dir : {"/proc", "/sys/kernel/btf", "/sys/kernel/tracing/events"})
      ASSERT_TRUE(mkdirs(root_ + dir, 0700).ok());
    ASSERT_TRUE(write_file_atomic(host_.sys + "/kernel/btf/vmlinux", "x", 0600).ok());
    ASSERT_TRUE(write_file_atomic(host_.proc + "/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", 0600).ok());
  }
  void TearDown() override {
    for (const char* file : {"/sys/kernel/btf/vmlinux", "/proc/mounts"}) unlink((root_ + file).c_str());
    for (const char* dir : {"/sys/kernel/tracing/events", "/sys/kernel/tracing", "/sys/kernel/btf", "/sys/kernel",
                            "/sys", "/proc", ""})
      rmdir((root_ + dir).c_str());
  }
  // Names of the checks that are not ok.
  std::string bad() {
    std::string out;
    const DoctorReply reply = local_checks(host_);
    for (const Check& check : reply.checks()) {
      if (check.ok()) continue;
      EXPECT_FALSE(check.advice().empty()) << check.name();
      out += check.name() + ";";
    }
    return out;
  }

  std::string root_;
  Host host_;
};

TEST_F(DoctorHost, AGoodHostIsOk) { EXPECT_EQ(bad(), ""); }

TEST_F(DoctorHost, EachThingThatIsMissingIsNamed) {
  host_.kernel_release = "5.10.0";
  EXPECT_EQ(bad(), "kernel;");
  host_.kernel_release = "6.0.9";
  EXPECT_EQ(bad(), "kernel;");
  host_.kernel_release = "unknown";
  EXPECT_EQ(bad(), "kernel;");
  host_.kernel_release = "7.0.0";
  host_.uid = 1000;
  EXPECT_EQ(bad(), "root;");
  host_.uid = 0;
  host_.sys = root_ + "/nothing";
  EXPECT_EQ(bad(), "BTF;tracefs;");
  host_.proc = root_ + "/nothing";
  EXPECT_EQ(bad(), "BTF;cgroup v2;tracefs;");
}

TEST(Doctor, TableShowsAdviceOnlyWhereItIsNeeded) {
  DoctorReply reply;
  Check* good = reply.add_checks();
  good->set_name("kernel");
  good->set_ok(true);
  good->set_advice("never shown");
  Check* bad = reply.add_checks();
  bad->set_name("BTF");
  bad->set_advice("another kernel");
  const std::string text = doctor_text(reply, {});
  EXPECT_TRUE(has(text, "ok  kernel"));
  EXPECT_TRUE(has(text, "!!  BTF"));
  EXPECT_TRUE(has(text, "another kernel"));
  EXPECT_FALSE(has(text, "never shown"));
}

}  // namespace
}  // namespace infertrail::cli
