// What survives the daemon: the records of exchanges that are under way, in memory that outlives the
// process (a pinned BPF array map: unswappable, never a disk). A log of the kernel's records with
// liveness: a record lives while its stream has something that is not durable in the trail yet.
//
// The capture thread copies a record here before the ring forgets it; workers say when a stream is
// over and which exchange is on its way; the trail's thread says when it is durable. The next daemon
// replays what lives (daemon/intake.h), so that streams go on where they stood.
// Limits: the size of the memory. When it is full, the largest stream's oldest bytes behind its first
// 64 KiB are given up and its anchor keeps their exact range: without a kill nothing is lost, with one
// the record names them (daemon_down).
// Guarantee at a kill at any instruction: a record is here whole, or still in the ring, or both.
//
// Thread: any; locks itself. control(), data(), loss(), identity(), loose(), ended() and replay() are
// the capture thread's. A Carry without memory does nothing at no cost.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "daemon/carry_space.h"
#include "daemon/message.h"

namespace infertrail {

struct CarryOptions {
  std::string boot_id;
  uint64_t trail = 0;                  // names the trail that `mark` counts in
  size_t segment_bytes = 256u << 10;   // a record is at most a little smaller
};

// What was found at the start.
struct CarryFound {
  bool adopted = false;
  std::string fresh;       // not empty: something was there that cannot be used, and why
  bool lost = false;       // that something was or may have been exchanges
  uint64_t streams = 0;
  uint64_t mark = 0;       // entries of the trail below it are known to be here as durable
  uint64_t corrupt = 0;    // segments that could not be read to their end
  uint64_t unkept = 0;     // records that had found no room
};

struct CarryCounts {
  uint64_t capacity = 0, live = 0, streams = 0;
  uint64_t evictions = 0, evicted_bytes = 0;   // since the start
  uint64_t unkept = 0;
};

// What replay() gives out, in the order of writing.
struct CarryReplay {
  std::function<void(StreamId, const Resume&)> resume;                                // before its records
  std::function<void(StreamId, uint8_t side, uint64_t from, uint64_t to)> evicted;    // before its records
  std::function<void(StreamId, const Process&, const Process& peer)> identity;
  std::function<void(std::string_view record)> control, data, loss;
  std::function<void(StreamId)> ended;
  std::function<void(uint64_t handle, std::string_view record)> loose;
};

class Carry : private carry::CarryOwner {
 public:
  Carry() = default;   // keeps nothing
  // `memory` must stay valid and 8-byte aligned. Takes up what is in it, or begins anew: found() says.
  Carry(std::span<std::byte> memory, const CarryOptions& options);
  Carry(const Carry&) = delete;
  Carry& operator=(const Carry&) = delete;

  bool enabled() const { return space_ != nullptr; }
  const CarryFound& found() const { return found_; }
  CarryCounts counts() const;

  // --- capture thread: before the ring forgets the record
  void control(StreamId stream, std::string_view record, bool only_known = false);
  void data(StreamId stream, uint8_t side, uint64_t offset, std::string_view head, std::string_view payload);
  void loss(StreamId stream, uint8_t side, uint64_t from, uint64_t to, std::string_view record);
  void identity(StreamId stream, const Process& process, const Process& peer);
  void ended(StreamId stream);
  // A record of no stream (yet). The handle names it until release(); 0: it found no room.
  uint64_t loose(std::string_view head, std::string_view payload = {});
  void release(uint64_t handle);
  // From now on it lives as long as these bytes of the stream.
  void own(uint64_t handle, StreamId stream, uint8_t side, uint64_t offset, uint64_t bytes);
  // The object's records need the flow's: the flow lives at least as long.
  void link(StreamId object, StreamId flow);
  // Nothing of it will be recorded.
  void forget(StreamId stream);
  // It is over and nobody decodes it; stays when it has bytes.
  void drop_unused(StreamId stream);

  // --- worker threads
  // An exchange is on its way to the trail; `resume`: where its stream goes on when it and all before
  // it are durable. The ticket is for durable().
  uint64_t handed(StreamId stream, std::optional<Resume> resume);
  // No more exchanges will come: forgotten when all tickets are done and no object needs it.
  void closed(StreamId stream);

  // --- trail thread
  void durable(StreamId stream, uint64_t ticket);
  void mark(uint64_t entries);

  void replay(const CarryReplay& into);

 private:
  using Key = std::pair<bool, uint64_t>;   // tls, id
  struct Entry {
    uint64_t sequence = 0;
    carry::Place place;
    uint64_t from = 0, to = 0;
  };
  struct Ticket {
    bool done = false;
    std::optional<Resume> resume;
  };
  struct Loose {
    carry::Place place;
    std::optional<Key> owner;
    uint8_t side = 0;
    uint64_t to = 0;
  };
  struct Stream {
    uint64_t sequence = 0;              // of the anchor
    carry::Place anchor;
    carry::Progress progress;
    std::deque<Entry> control;          // and identity, ended; all lists by sequence
    std::deque<Entry> data[2];          // and loss, by side
    uint64_t data_bytes = 0;
    std::set<uint64_t> loose;           // handles of those it owns
    std::deque<Ticket> tickets;
    uint64_t first_ticket = 1;
    uint32_t finished = 0;              // exchanges from progress.from on that this process knows as durable
    bool closed = false;
    uint32_t links = 0;                 // objects that need it
    std::optional<Key> flow;            // that it needs
  };
  struct KeyHash {
    size_t operator()(const Key& key) const { return std::hash<uint64_t>()(key.second * 2 + key.first); }
  };

  static Key key_of(StreamId id) { return {id.tls, id.id}; }
  std::string why_not(const CarryOptions& options) const;
  void begin_anew(const CarryOptions& options);
  void adopt();
  void take_stream(const carry::Found& found);
  void take_record(const carry::Found& found);

  bool lives(const carry::RecordHead& head, const carry::Place& at) override;
  void moved(const carry::RecordHead& head, const carry::Place& to) override;
  bool evict() override;
  uint64_t evict_from(Stream& stream, uint64_t kept, uint64_t enough);
  carry::Place* place_of(const carry::RecordHead& head);

  Stream* find(Key key);
  Stream* make(Key key);
  std::optional<Entry> write(carry::Kind kind, Key key, uint8_t side, uint64_t from, uint64_t to,
                             std::string_view first, std::string_view second);
  void keep_control(carry::Kind kind, StreamId id, std::string_view record);
  void keep_range(carry::Kind kind, StreamId id, uint8_t side, uint64_t from, uint64_t to, std::string_view first,
                  std::string_view second);
  void write_progress(Stream& stream);
  void give_up(Stream& stream, uint8_t side, uint64_t from, uint64_t to);
  void advance(Stream& stream, const Resume& resume);
  void drop_loose(uint64_t handle);
  void finish_when_over(Key key);
  void finish(Key key);
  void unkept();

  mutable std::mutex mutex_;
  std::unique_ptr<carry::Space> space_;
  CarryFound found_;
  std::unordered_map<Key, Stream, KeyHash> streams_;
  std::map<uint64_t, Loose> loose_;   // by sequence, which is the handle
  uint64_t next_sequence_ = 1;
  uint64_t evictions_ = 0, evicted_bytes_ = 0;
};

}  // namespace infertrail
