// Worker: what it does by itself, by the time up to which the rings were read.
#include "daemon/worker.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "trail/reader.h"

namespace infertrail {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 1'700'000'000 * kSecond;

class WorkerTest : public testing::Test {
 protected:
  WorkerTest() {
    mkdtemp(folder_);
    trail::TrailOptions options;
    options.dir = folder_;
    options.origin = "test/worker";
    options.index = false;
    trail_ = std::move(trail::TrailWriter::open(options).value());
    credentials_ = std::make_unique<Credentials>(std::move(Credentials::open(std::string(folder_) + "/credential.key").value()));
    worker_ = std::make_unique<Worker>(
        WorkerOptions(), std::make_unique<Pipeline>(std::move(Masker::make({}).value()), *credentials_, *trail_, counts_, true));
  }
  ~WorkerTest() override {
    worker_.reset();
    EXPECT_TRUE(trail_->close().ok());
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  void push(StreamMessage::Kind kind, uint8_t side, std::string bytes, uint64_t time) {
    std::vector<StreamMessage> batch(1);
    batch[0].kind = kind;
    batch[0].stream = {7, true};
    batch[0].side = side;
    batch[0].bytes = std::move(bytes);
    batch[0].time_ns = time;
    worker_->push(std::move(batch));
  }
  void tick(uint64_t time) {
    const uint64_t before = worker_->ticks();
    push(StreamMessage::Kind::kTick, 0, "", time);
    while (worker_->ticks() == before) usleep(1000);
  }

  char folder_[40] = "/dev/shm/infertrail-worker-XXXXXX";
  PipelineCounts counts_;
  std::unique_ptr<Credentials> credentials_;
  std::unique_ptr<trail::TrailWriter> trail_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(WorkerTest, AnExchangeWithoutASocketIsRecordedWhenItHasWaited) {
  push(StreamMessage::Kind::kData, IT_IN, "GET /x HTTP/1.1\r\n\r\n", kNow);
  push(StreamMessage::Kind::kData, IT_OUT, "HTTP/1.1 204 No Content\r\n\r\n", kNow);
  tick(kNow + 1 * kSecond);
  EXPECT_EQ(0u, counts_.exchanges) << "its socket may still be found";
  tick(kNow + 3 * kSecond);   // who sends the request is the client
  tick(kNow + 10 * kSecond);
  EXPECT_EQ(1u, counts_.exchanges);
}

TEST_F(WorkerTest, WhatIsSilentForTooLongIsRecordedAsItIs) {
  push(StreamMessage::Kind::kData, IT_IN, "GET /x HTTP/1.1\r\n\r\n", kNow);
  tick(kNow + 3 * kSecond);
  EXPECT_EQ(0u, counts_.exchanges);
  tick(kNow + 3700 * kSecond);
  EXPECT_EQ(1u, counts_.exchanges);
}

TEST_F(WorkerTest, LeftOpenIsNotRecorded) {
  push(StreamMessage::Kind::kData, IT_IN, "GET /x HTTP/1.1\r\n\r\n", kNow);
  worker_->leave_open();
  worker_.reset();
  EXPECT_EQ(0u, counts_.exchanges);
}

}  // namespace
}  // namespace infertrail
