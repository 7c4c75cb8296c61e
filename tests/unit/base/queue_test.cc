#include "base/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

#include "base/crc32c.h"

namespace infertrail {
namespace {

using Queue = BoundedQueue<std::unique_ptr<int>>;

Queue::Clock::time_point soon() {
  return Queue::Clock::now() + std::chrono::milliseconds(20);
}

TEST(BoundedQueue, GivesItemsInOrderWithinBothLimits) {
  Queue queue(10, 100);
  for (int i = 0; i < 5; i++) ASSERT_TRUE(queue.push(std::make_unique<int>(i), 10));
  auto two = queue.pop(2, 100, soon());
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(*two[1], 1);
  EXPECT_EQ(queue.pop(9, 25, soon()).size(), 2u);
  EXPECT_EQ(queue.pop(9, 1, soon()).size(), 1u);  // the first is given though it is too heavy
  EXPECT_TRUE(queue.pop(9, 9, soon()).empty());
}

TEST(BoundedQueue, BlocksTheProducerByCountAndByWeightUntilThereIsRoom) {
  for (size_t weight : {size_t{1}, size_t{60}}) {
    Queue queue(2, weight == 1 ? 1000 : 100);
    ASSERT_TRUE(queue.push(std::make_unique<int>(0), weight));
    if (weight == 1) {
      ASSERT_TRUE(queue.push(std::make_unique<int>(1), weight));
    }
    std::atomic<bool> pushed{false};
    std::thread producer([&] { pushed = queue.push(std::make_unique<int>(2), weight); });
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_FALSE(pushed);
    EXPECT_EQ(queue.pop(1, 1000, soon()).size(), 1u);
    producer.join();
    EXPECT_TRUE(pushed);
  }
}

TEST(BoundedQueue, AnItemHeavierThanTheQueueGoesInWhenItIsEmpty) {
  Queue queue(4, 10);
  EXPECT_TRUE(queue.push(std::make_unique<int>(1), 1000));
}

TEST(BoundedQueue, CloseWakesProducersAndLeavesWhatIsInside) {
  Queue queue(1, 100);
  ASSERT_TRUE(queue.push(std::make_unique<int>(1), 1));
  std::unique_ptr<int> kept = std::make_unique<int>(2);
  std::thread producer([&] { EXPECT_FALSE(queue.push(std::move(kept), 1)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  queue.close();
  producer.join();
  ASSERT_NE(kept, nullptr);  // not swallowed
  EXPECT_EQ(queue.pop(9, 9, Queue::Clock::now() + std::chrono::hours(1)).size(), 1u);
  EXPECT_TRUE(queue.pop(9, 9, Queue::Clock::now() + std::chrono::hours(1)).empty());
}

TEST(Crc32c, TheVectorsOfRfc3720AreMetByBothVersionsAndByParts) {
  std::string up;
  for (char i = 0; i < 32; i++) up.push_back(i);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(up), 0x46DD794Eu);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  for (size_t cut = 0; cut <= up.size(); cut++) {
    EXPECT_EQ(crc32c(up.substr(cut), crc32c(up.substr(0, cut))), 0x46DD794Eu);
    EXPECT_EQ(crc32c(up.substr(0, cut)), crc32c_portable(up.substr(0, cut)));
  }
}

}  // namespace
}  // namespace infertrail
