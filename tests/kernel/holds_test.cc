// Stop until attached: the first process of a file that was never probed is captured from its first byte,
// nobody is stopped for a file that is known, and nobody stays stopped.
#include "capture/holds.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernel/daemon_child.h"
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

char state_of(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const size_t at = text.rfind(')');
  return at == std::string::npos || at + 2 >= text.size() ? '\0' : text[at + 2];
}

// A program of our folder as a file that nobody has seen, under a name that nobody else has.
class FreshFile {
 public:
  explicit FreshFile(const std::string& of) : name_(of.substr(0, 8) + "_hold_" + std::to_string(getpid()) + "_" + std::to_string(made_++)) {
    fs::copy_file(own_folder() + "/" + of, own_folder() + "/" + name_);
  }
  ~FreshFile() { fs::remove(own_folder() + "/" + name_); }
  const std::string& name() const { return name_; }

 private:
  static inline int made_ = 0;
  std::string name_;
};

class HoldsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    auto opened = Stand::open();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    stand_ = std::move(opened.value());
  }
  Stand& stand() { return *stand_; }
  void add(const std::string& selector) {
    auto status = stand().targets().add(selector);
    ASSERT_TRUE(status.ok()) << status.error().message;
  }
  HoldCounts counts() { return stand().targets().holds(); }
  uint64_t word(uint32_t which) {
    uint64_t value = 0;
    bpf_map_lookup_elem(stand().probes().map_fd("strict"), &which, &value);
    return value;
  }
  // So that processes are stopped although no thread attaches.
  void beat() {
    const uint32_t which = IT_HOLD_HEARTBEAT;
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t value = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
    ASSERT_EQ(0, bpf_map_update_elem(stand().probes().map_fd("strict"), &which, &value, BPF_ANY));
  }
  bool becomes(uint32_t pid, char state) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(patience_seconds());
    while (state_of(pid) != state) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }

  std::unique_ptr<Stand> stand_;
};

TEST_F(HoldsTest, Trap18_TheFirstProcessOfAGoProgramIsCapturedFromItsFirstByte) {
  if (access((own_folder() + "/go_peer_stripped").c_str(), X_OK) != 0) GTEST_SKIP() << "built without go";
  Program server({"role=server"}, "go_peer_stripped");
  stand().start();
  server.go();
  for (int i = 0; i < 5; i++) {
    FreshFile file("go_peer_stripped");
    add("exe=" + file.name() + ",stop");
    Program client({"role=client", "gate=0", "conns=4", "requests=2", "request=9000", "response=5000",
                    "port=" + std::to_string(server.port())}, file.name());
    client.finish();
    ASSERT_LE(4u, client.told().size());
    for (const Told& told : client.told()) expect_tls(stand(), told, false);
    EXPECT_EQ(client.told().size(), stand().seen().objects_of(client.pid()).size());
    EXPECT_EQ(static_cast<uint64_t>(i + 1), counts().stops);
    stand().end(client);
    if (HasFailure()) return;
  }
  EXPECT_EQ("", stand().losses());
  EXPECT_EQ(0u, counts().overdue + counts().refused);
  EXPECT_EQ(0u, stand().probes().entries("held"));
}

// libssl is mapped by the dynamic linker, long after the exec.
TEST_F(HoldsTest, Trap18_ALibraryThatNobodyHasMappedBeforeIsProbedBeforeItsFirstCall) {
  Program server({"role=server", "tls=1", "conns=3"});
  stand().start();
  server.go();
  for (int i = 0; i < 3; i++) {
    const std::string folder = own_folder() + "/hold_lib_" + std::to_string(getpid()) + "_" + std::to_string(i);
    fs::create_directory(folder);
    for (const char* name : {"libssl.so.3", "libcrypto.so.3"})
      fs::copy_file(std::string("/usr/lib/x86_64-linux-gnu/") + name, folder + "/" + name);
    add("comm=it_peer,stop");
    setenv("LD_LIBRARY_PATH", folder.c_str(), 1);
    Program client({"role=client", "gate=0", "tls=1", "port=" + std::to_string(server.port())});
    unsetenv("LD_LIBRARY_PATH");
    client.finish();
    ASSERT_EQ(1u, client.told().size());
    expect_tls(stand(), client.told()[0], false);
    stand().end(client);
    fs::remove_all(folder);
  }
  EXPECT_EQ("", stand().losses());
  EXPECT_EQ(0u, counts().overdue);
}

TEST_F(HoldsTest, AFileThatIsKnownStopsNobody) {
  FreshFile file("it_peer");
  add("exe=" + file.name() + ",stop");
  stand().start();
  Program first({"role=server"}, file.name());
  const uint64_t stops = counts().stops;
  EXPECT_GT(stops, 0u);
  Program second({"role=server"}, file.name());
  Program third({"role=server"}, file.name());
  EXPECT_EQ(stops, counts().stops);
  EXPECT_TRUE(stand().targets().is_target(third.pid()));
}

TEST_F(HoldsTest, SomebodyOfTheSameNameElsewhereGoesOnAndIsNoTarget) {
  FreshFile file("it_peer");
  add("exe=/nowhere/" + file.name() + ",stop");
  stand().start();
  Program other({"role=server"}, file.name());   // it says that it is ready
  EXPECT_EQ(1u, counts().stops);
  EXPECT_TRUE(stand().wait([&] { return !stand().targets().is_target(other.pid()) && stand().probes().entries("held") == 0; }));
}

TEST_F(HoldsTest, ChildrenAreStoppedToo) {
  FreshFile file("it_peer");
  const std::string script = own_folder() + "/" + file.name() + ".sh";
  std::ofstream(script) << "#!/bin/sh\n" << own_folder() << "/" << file.name() << " role=server &\nwait\n";
  fs::permissions(script, fs::perms::owner_all);
  // By name it is the script that is chosen; its child runs another file.
  add("comm=" + (file.name() + ".sh").substr(0, 15) + ",stop");
  stand().start();
  {
    Program parent({"role=server"}, file.name() + ".sh");
    bool found = false;
    for (const TargetInfo& each : stand().targets().list())
      if (each.facts.exe.ends_with(file.name())) found = each.stops > 0;
    EXPECT_TRUE(found);
    for (const TargetInfo& each : stand().targets().list())
      if (each.facts.exe.ends_with(file.name())) ::kill(static_cast<pid_t>(each.facts.pid), SIGKILL);
  }
  fs::remove(script);
}

TEST_F(HoldsTest, NobodyWaitsLongerThanASecond) {
  FreshFile file("it_peer");
  add("exe=" + file.name() + ",stop");   // and no thread attaches anything
  beat();
  Program program({"role=server", "gate=0"}, file.name());
  ASSERT_TRUE(becomes(program.pid(), 'T'));
  EXPECT_EQ(1u, counts().held_now);
  program.expect("ready");   // the watchdog lets it go on
  EXPECT_GE(counts().overdue, 1u);
  EXPECT_EQ(0u, counts().held_now);
}

TEST_F(HoldsTest, WithoutAThreadThatAttachesNobodyIsStopped) {
  FreshFile file("it_peer");
  add("exe=" + file.name() + ",stop");
  const uint32_t which = IT_HOLD_HEARTBEAT;
  const uint64_t long_ago = 1;
  ASSERT_EQ(0, bpf_map_update_elem(stand().probes().map_fd("strict"), &which, &long_ago, BPF_ANY));
  Program program({"role=server"}, file.name());
  EXPECT_EQ(0u, counts().stops);
  EXPECT_GT(counts().refused, 0u);
}

TEST_F(HoldsTest, WhatSomebodyElseStoppedStaysStopped) {
  FreshFile file("it_peer");
  add("exe=" + file.name() + ",stop");
  beat();
  Program program({"role=server", "gate=0"}, file.name());
  ASSERT_TRUE(becomes(program.pid(), 'T'));
  ::kill(static_cast<pid_t>(program.pid()), SIGSTOP);
  stand().start();
  std::this_thread::sleep_for(1500ms);   // the daemon has attached, the watchdog's time is over
  EXPECT_EQ('T', state_of(program.pid()));
  ::kill(static_cast<pid_t>(program.pid()), SIGCONT);
  program.expect("ready");
  EXPECT_TRUE(stand().wait([&] { return stand().probes().entries("held") == 0; }));
}

TEST_F(HoldsTest, ATracedProcessIsLeftToItsDebugger) {
  FreshFile file("it_peer");
  add("exe=" + file.name() + ",stop");
  stand().start();
  const std::string path = own_folder() + "/" + file.name();
  const pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    execl(path.c_str(), file.name().c_str(), "role=server", "gate=0", nullptr);
    _exit(127);
  }
  int status = 0;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(SIGTRAP, WSTOPSIG(status)) << "its own stop at exec, and no other";
  EXPECT_EQ(0u, counts().stops);
  EXPECT_GT(counts().refused, 0u);
  ::kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST_F(HoldsTest, ADaemonThatIsKilledLeavesNobodyStopped) {
  FreshFile file("it_peer");
  stand().probes().take_new(true);
  abi::stop_name name{};
  name.kind = IT_STOP_EXE;
  file.name().copy(reinterpret_cast<char*>(name.text), sizeof(name.text) - 1);
  DaemonChild daemon(
      [&] {
        auto holds = std::make_unique<Holds>(stand().probes());
        return holds->use({name}).ok() ? std::move(holds) : nullptr;
      },
      [](Holds& holds) { holds.beat(); });
  ASSERT_TRUE(daemon.began());
  Program program({"role=server", "gate=0"}, file.name());
  ASSERT_TRUE(becomes(program.pid(), 'T'));
  daemon.kill();
  program.expect("ready");
  EXPECT_TRUE(stand().wait([&] { return stand().probes().entries("held") == 0; }));
  EXPECT_EQ(0u, word(IT_HOLD_ON)) << "the watchdog forbids it for the programs that are left";
}

TEST_F(HoldsTest, Trap38_Pid1OfAContainerIsStoppedAndContinued) {
  FreshFile file("it_peer");
  add("exe=" + file.name() + ",stop");
  stand().start();
  Fd own(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(0, unshare(CLONE_NEWPID));
  Program init({"role=server"}, file.name());
  ASSERT_EQ(0, setns(own.get(), CLONE_NEWPID));
  EXPECT_GT(counts().stops, 0u);
  EXPECT_NE('T', state_of(init.pid()));
}

}  // namespace
}  // namespace infertrail::testing_kernel
