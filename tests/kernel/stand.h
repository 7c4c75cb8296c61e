// What every kernel test stands on: probes that are attached, targets, and a thread that reads the
// rings into a Recorder, as the daemon's capture thread does.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "capture/events.h"
#include "capture/probes.h"
#include "capture/targets.h"
#include "kernel/program.h"
#include "kernel/recorder.h"

namespace infertrail::testing_kernel {

class Stand {
 public:
  static Result<std::unique_ptr<Stand>> open(const ProbeOptions& options = {});
  ~Stand();

  void start();   // the reading thread
  void stop();
  void round();   // by hand, while no thread reads
  // Until it is true; false after a patience that no healthy run needs.
  bool wait(const std::function<bool()>& condition);

  // Makes the process a target and waits until the TLS library it maps is probed.
  void watch(const Program& program, bool tls = false, size_t expected_libraries = 2);
  // Everything that was reported about the process until its end has been read.
  void end(Program& program);

  Probes& probes() { return *probes_; }
  Targets& targets() { return *targets_; }
  Recorder& seen() { return *recorder_; }
  std::string losses() const;   // "" when there are none

 private:
  Stand() = default;
  std::unique_ptr<Probes> probes_;
  std::unique_ptr<Targets> targets_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<Events> events_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// A suite whose tests share one stand: attaching and detaching takes a second.
class SharedStand : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;
  void TearDown() override;
  static Stand& stand() { return *stand_; }
  // The kernel lost nothing in this suite so far; tests that lose on purpose have their own stand.
  static std::unique_ptr<Stand> stand_;
  static ProbeOptions options_;
};

// What a program says about a connection is what was captured of its end: every byte of both
// directions, once bound, and of no other connection.
void expect_tls(Stand& stand, const Told& told, bool server);
void expect_plain(Stand& stand, const Told& told, uint32_t owner, bool server);
// A server and a client of its port; go() on both.
struct Pair {
  Pair(std::vector<std::string> server_arguments, std::vector<std::string> client_arguments);
  void go();
  void finish();   // both have closed their connections
  Program server, client;
};

// "" or why the tests cannot run here.
std::string missing();

}  // namespace infertrail::testing_kernel
