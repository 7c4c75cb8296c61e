// A bounded queue between threads. Bounded twice: by items and by weight (bytes), because one
// record may be as heavy as ten thousand others. push() blocks while the queue is full: pressure
// goes back to the producer, nothing is dropped here.
//
// Thread: every member may be called from any thread. Owner: items are moved in and moved out.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace infertrail {

template <typename T>
class BoundedQueue {
 public:
  using Clock = std::chrono::steady_clock;

  BoundedQueue(size_t max_items, size_t max_weight)
      : max_items_(max_items), max_weight_(max_weight) {}

  // Waits for room. An item heavier than the whole bound is let in when the queue is empty.
  // False: the queue was closed, and `item` is untouched.
  bool push(T&& item, size_t weight) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return closed_ || fits(weight); });
    if (closed_) return false;
    items_.push_back({std::move(item), weight});
    weight_ += weight;
    lock.unlock();
    filled_.notify_one();
    return true;
  }

  // Waits for the first item until `deadline`, then takes what is there, oldest first: at most
  // `max_items`, and at most `max_weight` unless the first alone is heavier. Empty: the deadline
  // passed, or the queue is closed and drained.
  std::vector<T> pop(size_t max_items, size_t max_weight, Clock::time_point deadline) {
    std::vector<T> taken;
    std::unique_lock lock(mutex_);
    filled_.wait_until(lock, deadline, [&] { return closed_ || !items_.empty(); });
    size_t weight = 0;
    while (!items_.empty() && taken.size() < max_items) {
      if (!taken.empty() && weight + items_.front().weight > max_weight) break;
      weight += items_.front().weight;
      taken.push_back(std::move(items_.front().value));
      items_.pop_front();
    }
    weight_ -= weight;
    lock.unlock();
    if (!taken.empty()) room_.notify_all();
    return taken;
  }

  // No more items go in; those inside can still be taken. Wakes everybody.
  void close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    room_.notify_all();
    filled_.notify_all();
  }

  bool closed() const {
    std::lock_guard lock(mutex_);
    return closed_;
  }
  size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }

 private:
  struct Item {
    T value;
    size_t weight;
  };

  bool fits(size_t weight) const {
    return items_.empty() || (items_.size() < max_items_ && weight_ + weight <= max_weight_);
  }

  const size_t max_items_, max_weight_;
  mutable std::mutex mutex_;
  std::condition_variable room_, filled_;
  std::deque<Item> items_;
  size_t weight_ = 0;
  bool closed_ = false;
};

}  // namespace infertrail
