// The trail's writer. Producers hand over masked records; one thread of its own commits them in
// groups:
//   bodies and leaves -> fdatasync (sequenced: acknowledged, visible, never lost again)
//   -> at most checkpoint_interval later signed, tiles written, checkpoint written (published).
// A disk that fails seals the segment; what is queued waits and is tried again on a new one, and
// producers block meanwhile: pressure goes back, nothing is dropped.
//
// Thread: append*, wait_sequenced, stats and close may be called from any thread. Owner: holds the
// trail's lock, key and files until it is destroyed.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/ed25519.h"
#include "base/file.h"
#include "base/queue.h"
#include "base/result.h"
#include "infertrail/record.pb.h"
#include "trail/entry.h"
#include "trail/index.h"
#include "trail/lock.h"
#include "trail/publisher.h"
#include "trail/sequencer.h"

namespace infertrail::trail {

struct TrailOptions {
  std::string dir;       // made when missing, mode 0700
  std::string origin;    // the log's name; an existing trail keeps the one it was made with
  std::string key_file;  // empty: <dir>/keys/log.key; made when the trail is new
  std::string boot_id;   // written into each leaf
  uint64_t segment_bytes = 256ull << 20;
  std::chrono::milliseconds checkpoint_interval{1000};
  size_t queue_records = 4096;
  size_t queue_bytes = 256ull << 20;
  bool index = true;
  // Called on the trail's thread for each entry once it is durable; must be quick.
  std::function<void(uint64_t index, const std::string& id)> on_sequenced = nullptr;
  // After a failed write: the first wait, doubled each time up to the longest.
  std::chrono::milliseconds retry_first{50}, retry_longest{5000};
  // How long close() goes on trying when the disk does not take what is queued.
  std::chrono::milliseconds close_patience{5000};
  FileOps files = system_files();
};

struct TrailStats {
  std::string origin;
  uint64_t size = 0;        // sequenced entries
  uint64_t published = 0;   // entries under the newest checkpoint
  std::string root_base64;  // of that checkpoint
  uint64_t queued = 0;
  uint64_t commits = 0;
  uint64_t write_failures = 0;  // segments sealed by a failed write or fdatasync
  uint64_t publish_failures = 0;
  uint64_t index_failures = 0;
  uint64_t unwritten = 0;  // records given up by close(): never acknowledged
  std::string last_error;  // the newest failure; stays after it is over
  std::string segment;     // newest, path below the trail's directory
};

class TrailWriter {
 public:
  static Result<std::unique_ptr<TrailWriter>> open(const TrailOptions& options);
  ~TrailWriter();

  // Takes the record; blocks while the queue is full. Success means queued, not yet durable. `durable`
  // is called on the trail's thread once it is; must be quick. Not called when close() gives it up.
  Status append(Record record, std::function<void()> durable = nullptr);
  // Blocks until the record is durable; its index.
  Result<uint64_t> append_durable(Record record);

  // Waits until more than `size` entries are sequenced or the time is over; how many are.
  uint64_t wait_sequenced(uint64_t size, std::chrono::milliseconds timeout);

  TrailStats stats() const;

  // Commits and publishes what is queued and stops. The error says what could not be written.
  // Later calls return the same. append() afterwards is an error.
  Status close();

 private:
  struct Waiter {
    std::mutex mutex;
    std::condition_variable done;
    std::optional<Result<uint64_t>> result;
  };
  struct Item {
    Entry entry;
    IndexRow row;
    Waiter* waiter = nullptr;  // on the stack of a blocked append_durable()
    std::function<void()> durable;
  };
  using Clock = std::chrono::steady_clock;

  TrailWriter(const TrailOptions& options, WriterLock lock, Ed25519Key key);
  Status start();
  Result<Item> make_item(Record& record, const std::string& note = {});
  Status push(Item item);

  void run();
  void sequence(std::vector<Item> items);
  Status commit(std::vector<Item>& items);
  Status commit_notes();
  void acknowledge(std::vector<Item>& items, const Sequencer::Place& place);
  void give_up(std::vector<Item>& items, const Error& error);
  void publish_when_due(bool now);
  Status try_publish();
  void flush_index(bool now);
  bool wait_retry();
  void failed(uint64_t TrailStats::*counter, const std::string& doing, const Error& error);

  const TrailOptions options_;
  WriterLock lock_;
  const Ed25519Key key_;
  Sequencer sequencer_;
  std::unique_ptr<Publisher> publisher_;  // made by start(), then the trail thread's
  std::optional<Index> index_;
  std::vector<IndexRow> index_rows_;
  Clock::time_point publish_due_{}, index_retry_{};
  std::chrono::milliseconds retry_;
  BoundedQueue<Item> queue_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  TrailStats stats_;
  bool closing_ = false;
  Clock::time_point give_up_at_{};
  std::optional<Status> closed_;

  std::mutex closing_mutex_;  // one close() at a time
  std::thread thread_;
};

}  // namespace infertrail::trail
