// What one daemon leaves for the next, beside the rings: both are Probes of this process.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>

#include "capture/pins.h"
#include "kernel/stand.h"

namespace infertrail::testing_kernel {
namespace {

constexpr char kPins[] = "/sys/fs/bpf/infertrail-pins-test";

class PinsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
    auto removed = detach_leftovers(kPins);
    ASSERT_TRUE(removed.ok()) << removed.error().message;
    options_.pin_root = kPins;
    options_.carry_bytes = 1 << 20;
  }
  void TearDown() override {
    probes_.reset();
    auto removed = detach_leftovers(kPins);
    EXPECT_TRUE(removed.ok()) << removed.error().message;
  }
  Probes& open() {
    auto opened = Probes::open(options_);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    probes_ = std::move(opened.value());
    return *probes_;
  }
  // As by a kill, but that it says so.
  void leave() {
    probes_->leave();
    probes_.reset();
  }
  ProbeOptions options_;
  std::unique_ptr<Probes> probes_;
};

TEST_F(PinsTest, CarryIsZeroedThenKept) {
  auto first = open().carry();
  ASSERT_EQ(1u << 20, first.size());
  EXPECT_FALSE(probes_->carry_adopted());
  EXPECT_TRUE(std::all_of(first.begin(), first.end(), [](std::byte each) { return each == std::byte{0}; }));
  for (size_t i = 0; i < first.size(); i++) first[i] = static_cast<std::byte>(i * 31 >> 4);
  leave();
  options_.carry_bytes = 2 << 20;   // a size that changes waits for a clean stop
  auto second = open().carry();
  ASSERT_EQ(1u << 20, second.size());
  EXPECT_TRUE(probes_->carry_adopted());
  size_t wrong = 0;
  for (size_t i = 0; i < second.size(); i++) wrong += second[i] != static_cast<std::byte>(i * 31 >> 4);
  EXPECT_EQ(0u, wrong);
  probes_->arm();
  probes_.reset();   // a clean stop
  EXPECT_NE(0, access(kPins, F_OK));
  auto third = open().carry();
  EXPECT_EQ(2u << 20, third.size());
  EXPECT_EQ(std::byte{0}, third[4096]);
}

TEST_F(PinsTest, WithoutPinsOrSizeThereIsNoCarry) {
  options_.carry_bytes = 0;
  EXPECT_TRUE(open().carry().empty());
  leave();
  options_.carry_bytes = 1 << 20;   // and comes when it is asked for
  EXPECT_EQ(1u << 20, open().carry().size());
  EXPECT_FALSE(probes_->carry_adopted());
  probes_.reset();
  options_.pin_root = "";
  EXPECT_TRUE(open().carry().empty());
  EXPECT_FALSE(probes_->adoption().adopted);
}

TEST_F(PinsTest, WhatIsToldOfLossesIsNotToldAgain) {
  open().arm();
  EXPECT_FALSE(probes_->adoption().adopted);
  LossCounts told{};
  told[IT_LOSS_RING_FULL] = {7, 700};
  probes_->tell(told, 0);
  leave();
  Probes& next = open();
  EXPECT_TRUE(next.adoption().adopted);
  EXPECT_TRUE(next.adoption().handed_over);
  EXPECT_EQ(static_cast<uint32_t>(getpid()), next.adoption().pid);
  EXPECT_GT(next.adoption().alive_ns, 1'600'000'000'000'000'000u);
  EXPECT_EQ(7u, next.losses_told()[IT_LOSS_RING_FULL].events);
  EXPECT_EQ(700u, next.losses_told()[IT_LOSS_RING_FULL].bytes);
}

TEST_F(PinsTest, SelectorsLibrariesAndTargetsAreRemembered) {
  Program program({"role=server", "tls=1"});
  const uint32_t pid = program.pid();
  const std::string by_pid = "pid=" + std::to_string(pid);
  {
    Targets targets(open());
    probes_->arm();
    ASSERT_TRUE(targets.add(by_pid).ok());
    ASSERT_TRUE(targets.add("exe=/no/such/file", false).ok());
    EXPECT_EQ(2u, targets.list().at(0).libraries.size());
    probes_->leave();
  }
  probes_.reset();
  program.kill();   // its libraries are on this host still, and have no user
  Targets targets(open());
  EXPECT_THAT(probes_->remembered_selectors(), testing::ElementsAre(by_pid));
  EXPECT_EQ(2u, probes_->remembered_libraries().size());
  targets.adopt();
  EXPECT_TRUE(targets.is_target(pid)) << "its events wait in the ring";
  EXPECT_TRUE(targets.add(by_pid).ok()) << "it has ended, but not for us";
  targets.restored();
  probes_->arm();
  EXPECT_TRUE(targets.is_target(pid));
  ASSERT_TRUE(targets.remove(by_pid).ok());
  EXPECT_FALSE(targets.is_target(pid));
  EXPECT_THAT(probes_->remembered_selectors(), testing::IsEmpty());
  EXPECT_FALSE(targets.add(by_pid).ok()) << "there is no such process";
  EXPECT_EQ(2u, probes_->remembered_libraries().size()) << "probed again, for whoever comes next";
}

TEST_F(PinsTest, WhoNoSelectorWantsAnyMoreIsLetGo) {
  Program program({"role=server"});
  {
    Targets targets(open());
    probes_->arm();
    ASSERT_TRUE(targets.add("pid=" + std::to_string(program.pid()), false).ok());   // of a configuration
    probes_->leave();
  }
  probes_.reset();
  Targets targets(open());
  targets.adopt();
  EXPECT_TRUE(targets.is_target(program.pid()));
  ASSERT_TRUE(targets.add("exe=/no/such/file", false).ok());   // which has changed
  targets.restored();
  EXPECT_FALSE(targets.is_target(program.pid()));
  EXPECT_THAT(probes_->selected(), testing::Not(testing::Contains(program.pid())));
  probes_->arm();
}

TEST_F(PinsTest, AStartThatFailsLeavesTheOldCaptureAsItWas) {
  Pair pair({}, {"request=5000", "response=7000"});
  {
    Targets targets(open());
    probes_->arm();
    ASSERT_TRUE(targets.add("pid=" + std::to_string(pair.server.pid())).ok());
    probes_->leave();
  }
  probes_.reset();
  open();              // attached, not armed
  probes_.reset();     // and given up
  pair.go();
  pair.finish();
  open();
  EXPECT_TRUE(probes_->adoption().adopted);
  EXPECT_GT(probes_->adoption().data.bytes, 12000u);
  EXPECT_GT(probes_->adoption().control.records, 0u);
}

TEST_F(PinsTest, TheSizeOfARingThatIsAdoptedStays) {
  options_.data_ring_bytes = 1 << 20;
  open().arm();
  leave();
  options_.data_ring_bytes = 4 << 20;
  open();
  EXPECT_TRUE(probes_->adoption().adopted);
}

TEST_F(PinsTest, WhatWasKilledBeforeItsMapsWereCompleteIsRemoved) {
  open();
  leave();
  auto removed = detach_leftovers(kPins);
  ASSERT_TRUE(removed.ok() && removed.value().size() == 1);
  const std::string folder = removed.value()[0].folder;
  const std::string abi = folder.substr(folder.rfind("/v") + 2);
  {
    auto pins = Pins::open(kPins, abi);   // folders without maps
    ASSERT_TRUE(pins.ok()) << pins.error().message;
    EXPECT_FALSE(pins.value()->adopted());
    pins.value()->leave();
  }
  EXPECT_FALSE(open().adoption().adopted);
}

TEST_F(PinsTest, WithoutABpfFileSystemCaptureWorksAndSaysSo) {
  options_.pin_root = "/tmp/infertrail-no-bpffs/pins";
  Probes& probes = open();
  const auto& features = probes.features();
  auto pins = std::find_if(features.begin(), features.end(), [](auto& each) { return each.name == "pins"; });
  ASSERT_NE(features.end(), pins);
  EXPECT_FALSE(pins->ok);
  EXPECT_THAT(pins->detail, testing::HasSubstr("no BPF file system"));
}

}  // namespace
}  // namespace infertrail::testing_kernel
