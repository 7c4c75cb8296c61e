#include "identity/resolver.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "unit/fake_proc.h"

namespace infertrail {
namespace {

uint64_t tick_ns() { return 1'000'000'000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)); }

ProcessFacts executed(uint32_t pid, const std::string& exe, uint64_t start_ticks) {
  ProcessFacts facts;
  facts.pid = pid;
  facts.exe = exe;
  facts.comm = "from-kernel";
  facts.args = {exe, "-x"};
  facts.start_boot_ns = start_ticks * tick_ns() + 1234;   // the kernel's own value is finer
  return facts;
}

TEST(ResolverTest, WhatTheKernelToldIsKeptAfterTheProcessEnded) {
  FakeProc proc;
  Resolver resolver(proc.root());
  resolver.note_exec(executed(40, "/bin/short", 100));
  Process process = resolver.process(40);
  EXPECT_EQ("/bin/short", process.exe());
  EXPECT_EQ("/bin/short -x", process.cmdline());
  EXPECT_EQ("from-kernel", process.comm());
}

TEST(ResolverTest, ALiveProcessIsReadFromProcAndRememberedWhenItEnds) {
  FakeProc proc;
  proc.process(41, "live", "/bin/live", 100);
  Resolver resolver(proc.root());
  ProcessFacts facts = resolver.note_exec(executed(41, "./live", 100));
  EXPECT_EQ("/bin/live", facts.exe) << "/proc knows the whole path";
  EXPECT_EQ("/system.slice/x.service", facts.cgroup);
  proc.end(41);
  Process process = resolver.process(41);
  EXPECT_EQ("/bin/live", process.exe());
  EXPECT_EQ("/system.slice/x.service", process.cgroup());
  EXPECT_EQ("1234567", process.user());
}

TEST(ResolverTest, AReusedPidIsTheNewProcess) {
  FakeProc proc;
  proc.process(42, "old", "/bin/old", 100);
  Resolver resolver(proc.root());
  EXPECT_EQ("/bin/old", resolver.process(42).exe());
  proc.end(42);
  proc.process(42, "new", "/bin/new", 900);
  EXPECT_EQ("/bin/new", resolver.process(42).exe());
}

TEST(ResolverTest, TheExecOfAnEndedProcessIsNotMixedWithTheNextOfItsPid) {
  FakeProc proc;
  proc.process(43, "next", "/bin/next", 900);
  Resolver resolver(proc.root());
  ProcessFacts facts = resolver.note_exec(executed(43, "/bin/first", 100));
  EXPECT_EQ("/bin/first", facts.exe);
  EXPECT_EQ("", facts.cgroup);
}

TEST(ResolverTest, AProcessThatIsEndingIsStillItself) {
  FakeProc proc;
  Resolver resolver(proc.root());
  resolver.note_exec(executed(44, "/bin/ending", 100));
  proc.write("44/stat", FakeProc::stat_line(44, "ending", 100));   // a zombie: no exe any more
  EXPECT_EQ("/bin/ending", resolver.process(44).exe());
  proc.write("44/stat", FakeProc::stat_line(44, "other", 900));    // another zombie
  EXPECT_EQ("", resolver.process(44).exe());
}

TEST(ResolverTest, AnUnknownProcessIsItsPidAndNothingElse) {
  FakeProc proc;
  Resolver resolver(proc.root());
  Process process = resolver.process(4711);
  EXPECT_EQ(4711u, process.pid());
  EXPECT_EQ("", process.exe());
  EXPECT_EQ("", process.user());
  EXPECT_FALSE(process.has_start_time());
}

TEST(ResolverTest, TheStartTimeDoesNotChangeFromCallToCall) {
  FakeProc proc;
  proc.process(45, "x", "/bin/x", 12345);
  Resolver resolver(proc.root());
  const auto first = resolver.process(45).start_time();
  ASSERT_GT(first.seconds(), 0);
  EXPECT_EQ(first.seconds(), resolver.process(45).start_time().seconds());
}

TEST(ResolverTest, FindsWhoListens) {
  FakeProc proc;
  proc.process(50, "client", "/bin/client");
  proc.process(51, "server", "/bin/server");
  const std::string tcp =
      "header\n   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 987 1 0 100\n";
  proc.write("50/net/tcp", tcp);
  proc.link("51/fd/7", "socket:[987]");
  Resolver resolver(proc.root());
  EXPECT_EQ(51u, resolver.listener(50, 8000).value_or(0));
  EXPECT_FALSE(resolver.listener(50, 8001).has_value());
  proc.end(51);
  EXPECT_FALSE(resolver.listener(50, 8000).has_value());
}

TEST(ResolverTest, AListenerIsRememberedWhileItsDescriptorIsThatSocket) {
  FakeProc proc;
  proc.process(50, "client", "/bin/client");
  proc.process(51, "server", "/bin/server");
  proc.write("50/net/tcp",
      "header\n   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 987 1 0 100\n");
  proc.link("50/ns/net", "net:[4026531840]");
  proc.link("51/fd/7", "socket:[987]");
  Resolver resolver(proc.root());
  EXPECT_EQ(51u, resolver.listener(50, 8000).value_or(0));
  proc.write("50/net/tcp", "header\n");   // not asked again
  EXPECT_EQ(51u, resolver.listener(50, 8000).value_or(0));
  proc.link("51/fd/7", "socket:[988]");    // closed, and the number used again
  EXPECT_FALSE(resolver.listener(50, 8000).has_value());
}

TEST(ResolverTest, TheOldestAreForgottenFirst) {
  FakeProc proc;
  Resolver resolver(proc.root());
  for (uint32_t pid = 1; pid <= 8193; pid++) resolver.note_exec(executed(pid, "/bin/x", 100));
  EXPECT_EQ("", resolver.process(1).exe());
  EXPECT_EQ("/bin/x", resolver.process(2).exe());
  EXPECT_EQ("/bin/x", resolver.process(8193).exe());
}

}  // namespace
}  // namespace infertrail
