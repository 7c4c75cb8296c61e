#include "base/procfs.h"

#include <gmock/gmock.h>

#include "unit/fake_proc.h"

namespace infertrail {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

TEST(ProcfsTest, ReadsAProcess) {
  FakeProc proc;
  proc.process(42, "python3", "/usr/bin/python3.11", 5000);
  auto facts = read_process(42, proc.root());
  ASSERT_TRUE(facts.ok()) << facts.error().message;
  EXPECT_EQ(42u, facts.value().pid);
  EXPECT_EQ(77u, facts.value().ppid);
  EXPECT_EQ(1234567u, facts.value().uid);
  EXPECT_EQ("python3", facts.value().comm);
  EXPECT_EQ("/usr/bin/python3.11", facts.value().exe);
  EXPECT_THAT(facts.value().args, ElementsAre("/usr/bin/python3.11", "--flag"));
  EXPECT_EQ("/system.slice/x.service", facts.value().cgroup);
  EXPECT_EQ(5000u * (1'000'000'000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK))), facts.value().start_boot_ns);
}

TEST(ProcfsTest, AnyCommIsReadWhateverItLooksLike) {
  for (const char* comm : {"a b c", "(x) y)", ")", "", ") S 1 2 3 (", "tmux: server"}) {
    FakeProc proc;
    proc.process(7, comm, "/bin/x", 123);
    auto facts = read_process(7, proc.root());
    ASSERT_TRUE(facts.ok()) << comm;
    EXPECT_EQ(comm, facts.value().comm);
    EXPECT_EQ(77u, facts.value().ppid) << comm;
  }
}

TEST(ProcfsTest, MissingFilesLeaveFieldsEmptyAndNoStatIsAnError) {
  FakeProc proc;
  proc.write("9/stat", FakeProc::stat_line(9, "k", 1));
  auto facts = read_process(9, proc.root());
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ("", facts.value().exe);
  EXPECT_EQ("", facts.value().cgroup);
  EXPECT_TRUE(facts.value().args.empty());
  auto gone = read_process(10, proc.root());
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(Code::kNotFound, gone.error().code);
}

TEST(ProcfsTest, ATornStatIsAnError) {
  for (const char* text : {"", "9", "9 (x", "9 (x)", "9 (x) S 1 2 3"}) {
    FakeProc proc;
    proc.write("9/stat", text);
    auto facts = read_process(9, proc.root());
    ASSERT_FALSE(facts.ok()) << text;
    EXPECT_EQ(Code::kCorrupt, facts.error().code);
    EXPECT_THAT(facts.error().message, HasSubstr("stat of process 9"));
  }
}

TEST(ProcfsTest, CgroupIsTheUnifiedPathOrElseThePidsController) {
  struct Case {
    const char *text, *path;
  };
  for (const Case& each : {Case{"0::/a/b\n", "/a/b"}, Case{"0::/\n", "/"},
                           Case{"12:pids:/docker/x\n1:name=systemd:/y\n0::/\n", "/docker/x"},
                           Case{"12:pids:/docker/x\n", "/docker/x"},
                           Case{"12:pids:/old\n0::/new\n", "/new"},
                           Case{"4:cpu,cpuacct:/c\n", ""}, Case{"", ""}}) {
    FakeProc proc;
    proc.process(5, "x", "/x");
    proc.write("5/cgroup", each.text);
    EXPECT_EQ(each.path, read_process(5, proc.root()).value().cgroup) << each.text;
  }
}

TEST(ProcfsTest, ListsNumbersOnly) {
  FakeProc proc;
  proc.process(1, "a", "/a");
  proc.process(300, "b", "/b");
  proc.write("self/stat", "");
  proc.write("sys/x", "");
  EXPECT_THAT(list_processes(proc.root()), UnorderedElementsAre(1u, 300u));
  EXPECT_TRUE(list_processes(proc.root() + "/none").empty());
}

TEST(ProcfsTest, ReadsMappings) {
  FakeProc proc;
  proc.write("3/maps",
             "7f10a000-7f20b000 r-xp 00001000 fe:01 4711                       /usr/lib/libssl.so.3\n"
             "7f20b000-7f20c000 rw-p 00000000 fe:01 4711   /usr/lib/libssl.so.3\n"
             "7f30b000-7f30c000 r-xp 00000000 00:2a 12   /opt/my app/lib x.so (deleted)\n"
             "7f40b000-7f40c000 rw-p 00000000 00:00 0 \n"
             "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
             "broken line\n");
  auto maps = read_mappings(3, proc.root());
  ASSERT_TRUE(maps.ok());
  ASSERT_EQ(4u, maps.value().size());
  EXPECT_EQ(0x7f10a000u, maps.value()[0].begin);
  EXPECT_EQ(0x7f20b000u, maps.value()[0].end);
  EXPECT_TRUE(maps.value()[0].executable);
  EXPECT_EQ(4711u, maps.value()[0].inode);
  EXPECT_EQ("/usr/lib/libssl.so.3", maps.value()[0].path);
  EXPECT_FALSE(maps.value()[1].executable);
  EXPECT_EQ("/opt/my app/lib x.so (deleted)", maps.value()[2].path);
  EXPECT_EQ(0u, maps.value()[3].inode);
  EXPECT_FALSE(read_mappings(4, proc.root()).ok());
}

constexpr char kTcpHeader[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

TEST(ProcfsTest, FindsListenersOfBothFamiliesAndOnlyItsOwn) {
  FakeProc proc;
  proc.write("8/net/tcp", std::string(kTcpHeader) +
             "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100\n"
             "   1: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100\n"
             "   2: 0100007F:1F42 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100\n");
  proc.write("8/net/tcp6", std::string(kTcpHeader) +
             "   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A "
             "00000000:00000000 00:00000000 00000000     0        0 444 1 0 100\n");
  proc.link("8/fd/0", "/dev/null");
  proc.link("8/fd/3", "socket:[111]");
  proc.link("8/fd/11", "socket:[444]");
  proc.link("8/fd/12", "socket:[333]");
  proc.link("8/fd/13", "pipe:[222]");
  EXPECT_THAT(socket_descriptors(8, proc.root()),
              UnorderedElementsAre(std::pair(3, 111ull), std::pair(11, 444ull), std::pair(12, 333ull)));
  EXPECT_EQ(3u, listening_sockets(8, proc.root()).size());
  EXPECT_THAT(listening_ports(8, proc.root()), ElementsAre(443, 8000));
  EXPECT_TRUE(listening_ports(9, proc.root()).empty());
}

TEST(ProcfsTest, ContainerIds) {
  const std::string id(64, 'a'), other = std::string(63, 'b') + "0";
  EXPECT_EQ(id, container_id_of("/docker/" + id));
  EXPECT_EQ(id, container_id_of("/system.slice/docker-" + id + ".scope"));
  EXPECT_EQ(other, container_id_of("/kubepods/burstable/pod12ab/cri-containerd-" + other + ".scope/x"));
  EXPECT_EQ("", container_id_of("/user.slice/user-1000.slice"));
  EXPECT_EQ("", container_id_of("/x/" + std::string(63, 'a')));
  EXPECT_EQ("", container_id_of("/x/" + std::string(65, 'a')));
  EXPECT_EQ("", container_id_of(""));
}

TEST(ProcfsTest, SmallReaders) {
  EXPECT_EQ("a b  c", command_line({"a", "b", "", "c"}));
  EXPECT_EQ("", command_line({}));
  EXPECT_EQ("root", user_name(0));
  EXPECT_EQ("4000000001", user_name(4000000001u));
  FakeProc proc;
  EXPECT_EQ("", cgroup2_mount(proc.root()));
  proc.write("mounts", "cgroup /sys/fs/cgroup/pids cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
  EXPECT_EQ("/sys/fs/cgroup/unified", cgroup2_mount(proc.root()));
}

}  // namespace
}  // namespace infertrail
