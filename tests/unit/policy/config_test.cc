#include "policy/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace infertrail {
namespace {

namespace fs = std::filesystem;

class ConfigFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("config_test." + std::to_string(::getpid()) + "." +
               ::testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string write(const std::string& text) {
    std::string path = folder_ / "config.yaml";
    std::ofstream(path) << text;
    return path;
  }
  fs::path folder_;
};

const std::vector<std::string> kDetectors = {"EMAIL", "CARD"};

TEST_F(ConfigFile, MissingDefaultFileMeansDefaultsAndTheyAreGood) {
  std::string none = folder_ / "none.yaml";
  auto config = load_config(none, none);
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config.value().trail(), "/var/lib/infertrail");
  EXPECT_EQ(config.value().socket(), "/run/infertrail/control.sock");
  EXPECT_EQ(config.value().targets(0), "auto");
  EXPECT_EQ(config.value().capture().data_ring_bytes(), 64u << 20);
  EXPECT_EQ(config.value().capture().idle_timeout().seconds(), 3600);
  EXPECT_EQ(config.value().trail_options().key_file(), "/var/lib/infertrail/keys/log.key");
  EXPECT_TRUE(config.value().trail_options().origin().starts_with("infertrail/"));
  Status status = check_config(config.value(), kDetectors);
  EXPECT_TRUE(status.ok()) << status.error().message;
}

TEST_F(ConfigFile, MissingOtherFileAndUnreadableFileAreErrors) {
  std::string none = folder_ / "none.yaml";
  auto missing = load_config(none);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_EQ(missing.error().message, none + ": there is no such file");
  auto folder = load_config(folder_, folder_);
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().message, folder_.string() + ": cannot be read: Is a directory");
}

TEST_F(ConfigFile, FileOverlaysDefaults) {
  auto config = load_config(write("trail: /t\ntargets: [pid:7]\ncapture: {workers: 5}\n"));
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config.value().targets_size(), 1);
  EXPECT_EQ(config.value().capture().workers(), 5u);
  EXPECT_EQ(config.value().capture().control_ring_bytes(), 8u << 20);
  EXPECT_EQ(config.value().trail_options().key_file(), "/t/keys/log.key");
}

TEST_F(ConfigFile, YamlErrorsCarryThePath) {
  std::string path = write("trial: /t\n");
  EXPECT_EQ(load_config(path).error().message,
            path + ":1:1: Config has no field \"trial\"; did you mean \"trail\"?");
}

TEST_F(ConfigFile, ExplicitZeroIsOutOfRangeAndNotTheDefault) {
  auto config = load_config(write("capture: {workers: 0, idle_timeout: 0s}\ntargets: []\n"));
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(check_config(config.value(), kDetectors).error().message,
            "targets: at least one selector is needed\n"
            "capture.workers: 0 is not between 1 and 64\n"
            "capture.idle_timeout: 0s is not between 1s and 2592000s");
}

std::string error_after(void (*change)(Config*)) {
  Config config = default_config();
  config.mutable_trail_options()->set_origin("o");
  config.mutable_trail_options()->set_key_file("/k");
  change(&config);
  Status status = check_config(config, kDetectors);
  return status.ok() ? "" : status.error().message;
}

TEST(CheckConfig, EveryRangeHasItsMessage) {
  EXPECT_EQ(error_after([](Config*) {}), "");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_capture()->set_data_ring_bytes(96 << 20); }),
            "capture.data_ring_bytes: 96MiB is not a power of two");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_capture()->set_control_ring_bytes(4096); }),
            "capture.control_ring_bytes: 4KiB is not between 64KiB and 1GiB");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_capture()->set_carry_bytes(1 << 20); }),
            "capture.carry_bytes: 1MiB is not between 2MiB and 1GiB");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_capture()->set_carry_bytes(0); }), "");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_capture()->set_max_body_bytes(1 << 30); }),
            "capture.max_body_bytes: 1GiB is not between 1KiB and 256MiB\n"
            "capture.max_body_bytes: larger than capture.max_memory_bytes");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_trail_options()->set_origin("a b"); }),
            "trail_options.origin: \"a b\" must not be empty or hold spaces or '+'");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_trail_options()->set_origin("a+b"); }),
            "trail_options.origin: \"a+b\" must not be empty or hold spaces or '+'");
  EXPECT_EQ(error_after([](Config* c) { c->set_log_level("trace"); }),
            "log_level: unknown value \"trace\"; one of error, warn, info, debug");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_masking()->add_detectors("EMIAL"); }),
            "masking.detectors: there is no detector \"EMIAL\"; did you mean \"EMAIL\"?");
  EXPECT_EQ(error_after([](Config* c) { c->set_trail("x"); }),
            "trail: \"x\" is not an absolute path");
  EXPECT_EQ(error_after([](Config* c) { c->set_socket("/" + std::string(120, 's')); }),
            "socket: the path is longer than 107 bytes");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_capture()->set_pin_dir("pins"); }),
            "capture.pin_dir: \"pins\" is not an absolute path");
  EXPECT_EQ(error_after([](Config* c) { c->mutable_capture()->set_pin_dir("/sys/fs/bpf/x/"); }),
            "capture.pin_dir: ends with '/'");
  EXPECT_EQ(error_after([](Config* c) {
              c->mutable_capture()->set_pin_dir("");
              c->mutable_capture()->set_keep_on_stop(true);
            }),
            "capture.keep_on_stop: needs capture.pin_dir");
}

}  // namespace
}  // namespace infertrail
