// A /proc folder of our own, in a temporary directory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace infertrail {

class FakeProc {
 public:
  FakeProc() {
    char path[] = "/tmp/infertrail-proc-XXXXXX";
    root_ = mkdtemp(path);
  }
  ~FakeProc() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  FakeProc(const FakeProc&) = delete;

  const std::string& root() const { return root_; }
  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = root_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  void link(const std::string& name, const std::string& target) {
    const std::filesystem::path path = root_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::filesystem::remove(path);   // a process may be replaced by another one
    ASSERT_EQ(0, symlink(target.c_str(), path.c_str()));
  }
  // A process with everything that read_process() reads. `start` in clock ticks.
  void process(uint32_t pid, const std::string& comm, const std::string& exe, uint64_t start = 5000) {
    const std::string dir = std::to_string(pid) + "/";
    write(dir + "stat", stat_line(pid, comm, start));
    write(dir + "cmdline", exe + std::string(1, '\0') + "--flag" + std::string(1, '\0'));
    write(dir + "status", "Name:\tx\nUmask:\t0022\nUid:\t1234567\t0\t0\t0\n");
    write(dir + "cgroup", "0::/system.slice/x.service\n");
    link(dir + "exe", exe);
  }
  static std::string stat_line(uint32_t pid, const std::string& comm, uint64_t start) {
    return std::to_string(pid) + " (" + comm + ") S 77 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 " +
           std::to_string(start) + " 1000 200 18446744073709551615\n";
  }
  void end(uint32_t pid) { std::filesystem::remove_all(root_ + "/" + std::to_string(pid)); }

 private:
  std::string root_;
};

}  // namespace infertrail
