// A thread that decodes its share of the streams: bytes -> exchanges -> records. The streams of one
// connection stay with one worker. Its queue is bounded; push() blocks, and pressure ends in the
// kernel ring, where loss is counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "base/queue.h"
#include "daemon/carry.h"
#include "daemon/message.h"
#include "daemon/pipeline.h"
#include "daemon/session.h"
#include "daemon/written.h"

namespace infertrail {

struct WorkerOptions {
  SessionLimits session;
  size_t max_memory_bytes = 256u << 20;   // this worker's share
  uint64_t idle_ns = 3600ull * 1'000'000'000;
  size_t queue_bytes = 64u << 20;
  // What keeps the records of open exchanges over a kill, and the exchanges that a killed daemon wrote
  // and the carry does not know as durable: those are not written again.
  Carry* carry = nullptr;
  std::shared_ptr<const WrittenExchanges> written;
};

struct WorkerCounts {
  uint64_t sessions = 0, memory_bytes = 0, given_up = 0;
};

class Worker {
 public:
  // Takes the pipeline as its own: its masker belongs to this thread.
  Worker(const WorkerOptions& options, std::unique_ptr<Pipeline> pipeline);
  // Finishes what was pushed, records what is open as incomplete (unless leave_open()), and ends.
  ~Worker();
  // Another daemon goes on with what is open. Any thread, before the destructor.
  void leave_open() { leave_open_ = true; }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void push(std::vector<StreamMessage> messages);
  WorkerCounts counts() const;   // any thread
  // Ticks that were handled, each with everything that was pushed before it. Any thread.
  uint64_t ticks() const { return ticks_; }

 private:
  void run();
  void handle(StreamMessage message);
  void record(Session& session);
  bool written(StreamId stream, uint32_t number) const;
  void tick(uint64_t now_ns);
  void bound_memory(uint64_t now_ns);

  const WorkerOptions options_;
  Carry no_carry_;
  Carry& carry_;
  std::unique_ptr<Pipeline> pipeline_;
  BoundedQueue<std::vector<StreamMessage>> queue_;
  std::map<std::pair<bool, uint64_t>, std::unique_ptr<Session>> sessions_;
  uint64_t given_up_ = 0;
  uint64_t now_ns_ = 0;   // the newest kTick: time as far as the rings were read
  std::atomic<uint64_t> session_count_{0}, memory_{0}, given_up_count_{0}, ticks_{0};
  std::atomic<bool> leave_open_{false};
  std::thread thread_;   // last: it uses everything above
};

}  // namespace infertrail
