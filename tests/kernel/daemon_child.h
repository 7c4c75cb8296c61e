// The tests' own process cannot die; a child of it plays the daemon, with the same maps, until it is killed.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

namespace infertrail::testing_kernel {

class DaemonChild {
 public:
  // In the child: `begin` gives what the daemon holds (nullptr: it failed), `beat` is called with it each ms.
  template <typename Begin, typename Beat>
  DaemonChild(Begin begin, Beat beat) {
    int ready[2];
    if (pipe(ready) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      auto held = begin();
      const char ok = held ? '1' : '0';
      if (write(ready[1], &ok, 1) != 1) _exit(1);
      for (;; usleep(1000))
        if (held) beat(*held);
    }
    char ok = '0';
    began_ = pid_ > 0 && read(ready[0], &ok, 1) == 1 && ok == '1';
    for (int fd : ready) ::close(fd);
  }
  ~DaemonChild() { if (pid_ > 0) kill(); }
  DaemonChild(const DaemonChild&) = delete;
  DaemonChild& operator=(const DaemonChild&) = delete;

  bool began() const { return began_; }
  void kill() {
    const pid_t pid = std::exchange(pid_, -1);
    EXPECT_EQ(0, ::kill(pid, SIGKILL));
    EXPECT_EQ(pid, waitpid(pid, nullptr, 0));
  }

 private:
  pid_t pid_ = -1;
  bool began_ = false;
};

}  // namespace infertrail::testing_kernel
