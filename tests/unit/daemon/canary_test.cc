// What the canary's watch takes for whole, and what it says of each thing that is missing.
#include "daemon/canary_watch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/canary_child.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

// Everything that the kernel tells, but for one thing.
std::string without(int left_out) {
  CanaryWatch watch;
  watch.begin(77);
  int step = 0;
  auto tell = [&](auto what) {
    if (step++ != left_out) what();
  };
  tell([&] { watch.flow_opened(); });
  tell([&] { watch.object_opened(1); watch.object_bound(1); });
  tell([&] { watch.data(1, IT_OUT, kCanaryQuestion); });
  tell([&] { watch.data(2, IT_IN, kCanaryQuestion); });
  tell([&] { watch.data(2, IT_OUT, kCanaryAnswer.substr(0, 9)); watch.data(2, IT_OUT, kCanaryAnswer.substr(9)); });
  tell([&] { watch.data(1, IT_IN, kCanaryAnswer); });
  watch.flow_opened();
  watch.object_opened(2);
  watch.object_bound(2);
  tell([&] { watch.object_closed(1); });
  watch.object_closed(2);
  return watch.missing();
}

TEST(CanaryTest, EverythingThatIsLeftOutIsNamed) {
  EXPECT_EQ("", without(-1));
  EXPECT_EQ("connections (cgroup_skb)", without(0));
  EXPECT_EQ("which connection an object belongs to (BIO_write, cgroup_skb egress)", without(1));
  EXPECT_EQ("SSL_write", without(2));
  EXPECT_EQ("SSL_read", without(3));
  EXPECT_EQ("SSL_write_ex", without(4));
  EXPECT_EQ("SSL_read_ex", without(5));
  EXPECT_EQ("SSL_free", without(6));
}

TEST(CanaryTest, OtherProcessesAreNotItsOwn) {
  CanaryWatch watch;
  EXPECT_FALSE(watch.is(0));
  watch.begin(77);
  EXPECT_TRUE(watch.is(77));
  EXPECT_FALSE(watch.is(78));
  watch.object_bound(5);
  watch.object_closed(5);
  EXPECT_NE(std::string::npos, watch.missing().find("TLS objects"));
  watch.end();
  EXPECT_FALSE(watch.is(77));
}

// The exchange itself needs no kernel of a certain kind and no rights.
TEST(CanaryTest, TheExchangeSucceeds) {
  const pid_t pid = fork();
  if (pid == 0) {
    char name[] = "x", argument[] = "--infertrail-canary";
    char* arguments[] = {name, argument, nullptr};
    close(0);
    open("/dev/null", O_RDONLY);
    _exit(run_as_canary(2, arguments).value_or(99));
  }
  int status = 0;
  ASSERT_EQ(pid, waitpid(pid, &status, 0));
  EXPECT_EQ(0, WEXITSTATUS(status));
}

}  // namespace
}  // namespace infertrail
