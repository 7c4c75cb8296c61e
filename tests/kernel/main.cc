// kernel_tests: against the running kernel, as root. A test that cannot run here is skipped with its
// reason, and the reasons are repeated at the end so that no skip is silent.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/mounts.h"
#include "kernel/restarted.h"

namespace {

class Skips : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.skipped()) reasons_.push_back(result.message() ? result.message() : "");
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    for (const std::string& reason : reasons_)
      all_.push_back(std::string(test.test_suite_name()) + "." + test.name() + ": " + reason);
    reasons_.clear();
  }
  void OnTestProgramEnd(const testing::UnitTest& all) override {
    for (const std::string& each : all_) std::printf("SKIP %s\n", each.c_str());
    std::printf("%d passed, %d failed, %d skipped\n", all.successful_test_count(),
                all.failed_test_count(), all.skipped_test_count());
  }
  std::vector<std::string> reasons_, all_;
};

}  // namespace

int main(int argc, char** argv) {
  using namespace infertrail::testing_kernel;
  if (argc >= 4 && std::string(argv[1]) == kRestartedArgument) {
    if (auto status = infertrail::mount_missing(); !status.ok()) return 1;
    return restarted_daemon({argv + 2, argv + argc});
  }
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new Skips);
  const char* level = std::getenv("IT_LOG");
  spdlog::set_level(level ? spdlog::level::from_str(level) : spdlog::level::err);
  // As the daemon does: tracepoints need tracefs.
  if (auto status = infertrail::mount_missing(); !status.ok())
    std::printf("mounts: %s\n", status.error().message.c_str());
  return RUN_ALL_TESTS();
}
