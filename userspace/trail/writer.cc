#include "trail/writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/bytes.h"
#include "trail/encoding.h"

namespace infertrail::trail {
namespace {

constexpr size_t kBatchBytes = 8u << 20;
constexpr size_t kPendingBytes = 64u
                                 << 20;  // of unpublished tiles; above it publishing comes first
constexpr size_t kIndexRows = 2048;
constexpr size_t kItemOverhead = 512;

}  // namespace

TrailWriter::TrailWriter(const TrailOptions& options, WriterLock lock, Ed25519Key key)
    : options_(options),
      lock_(std::move(lock)),
      key_(std::move(key)),
      sequencer_(options_.dir, log_id(options_.origin), options_.segment_bytes, options_.files),
      retry_(options_.retry_first),
      queue_(options_.queue_records, options_.queue_bytes) {}

TrailWriter::~TrailWriter() {
  Status closed = close();
  if (!closed.ok()) spdlog::error("trail close error=\"{}\"", closed.error().message);
}

Result<TrailWriter::Item> TrailWriter::make_item(Record& record, const std::string& note) {
  Item item;
  TRY(item.entry, make_entry(record, options_.boot_id, note));
  item.row = row_of(record);
  return item;
}

Status TrailWriter::push(Item item) {
  size_t weight = item.entry.body.size() + item.entry.leaf.size() + kItemOverhead;
  if (queue_.push(std::move(item), weight)) return {};
  return Error{Code::kInvalid, "the trail is closed: the record was not taken"};
}

Status TrailWriter::append(Record record, std::function<void()> durable) {
  TRY(Item item, make_item(record));
  item.durable = std::move(durable);
  record.Clear();  // its memory is free while we wait for room
  return push(std::move(item));
}

Result<uint64_t> TrailWriter::append_durable(Record record) {
  TRY(Item item, make_item(record));
  record.Clear();
  Waiter waiter;
  item.waiter = &waiter;
  TRY_STATUS(push(std::move(item)));
  std::unique_lock lock(waiter.mutex);
  waiter.done.wait(lock, [&] { return waiter.result.has_value(); });
  return std::move(*waiter.result);
}

uint64_t TrailWriter::wait_sequenced(uint64_t size, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return stats_.size > size || closing_; });
  return stats_.size;
}

TrailStats TrailWriter::stats() const {
  std::lock_guard lock(mutex_);
  TrailStats copy = stats_;
  copy.queued = queue_.size();
  return copy;
}

Status TrailWriter::close() {
  std::lock_guard one(closing_mutex_);
  if (closed_) return *closed_;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    give_up_at_ = Clock::now() + options_.close_patience;
  }
  queue_.close();
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::lock_guard lock(mutex_);
  closed_ = Status();
  if (stats_.unwritten > 0)
    closed_ = Error{Code::kIo, std::to_string(stats_.unwritten) +
                                   " records could not be written: " + stats_.last_error};
  else if (publisher_ && publisher_->behind())
    closed_ =
        Error{Code::kIo, "the newest entries are durable but not published: " + stats_.last_error};
  return *closed_;
}

// --- the trail thread
// ------------------------------------------------------------------------------

void TrailWriter::run() {
  for (;;) {
    Clock::time_point deadline =
        publisher_->behind() ? publish_due_ : Clock::now() + std::chrono::hours(1);
    if (!index_rows_.empty())
      deadline = std::min(deadline, Clock::now() + std::chrono::milliseconds(20));
    auto items = queue_.pop(kMaxBatchEntries, kBatchBytes, deadline);
    bool idle = items.empty();
    if (!idle) sequence(std::move(items));
    flush_index(idle);
    publish_when_due(false);
    if (idle && queue_.closed() && queue_.size() == 0) break;
  }
  publish_when_due(true);
  flush_index(true);
}

void TrailWriter::sequence(std::vector<Item> items) {
  for (;;) {
    Status done = commit(items);
    if (done.ok()) {
      retry_ = options_.retry_first;
      return;
    }
    failed(&TrailStats::write_failures, "append", done.error());
    if (!wait_retry()) return give_up(items, done.error());
  }
}

Status TrailWriter::commit(std::vector<Item>& items) {
  if (publisher_->pending_bytes() > kPendingBytes) TRY_STATUS(try_publish());
  TRY_STATUS(commit_notes());
  std::vector<std::string_view> leaves, bodies;
  for (const Item& item : items) {
    leaves.push_back(item.entry.leaf);
    bodies.push_back(item.entry.body);
  }
  TRY(Sequencer::Place place, sequencer_.commit(leaves, bodies));
  acknowledge(items, place);
  return {};
}

// One recovery record for each torn tail that has none: the first entries behind it.
Status TrailWriter::commit_notes() {
  while (!sequencer_.notes().empty()) {
    std::vector<Item> items;
    std::vector<std::string_view> leaves, bodies;
    size_t count = std::min<size_t>(sequencer_.notes().size(), kMaxBatchEntries);
    for (size_t i = 0; i < count; i++) {
      const TornNote& note = sequencer_.notes()[i];
      Record record;
      auto now = std::chrono::system_clock::now().time_since_epoch();
      record.mutable_time()->set_seconds(
          std::chrono::duration_cast<std::chrono::seconds>(now).count());
      record.mutable_time()->set_nanos(
          static_cast<int>(std::chrono::nanoseconds(now).count() % 1000000000));
      record.set_kind("recovery");
      record.set_complete(true);
      record.mutable_event()->set_what(note.text());
      auto& facts = *record.mutable_event()->mutable_facts();
      facts["segment"] = note.segment.path();
      facts["offset"] = std::to_string(note.offset);
      if (!note.sha256.empty()) facts["bytes"] = std::to_string(note.bytes);
      TRY(Item item, make_item(record, note.text()));
      items.push_back(std::move(item));
    }
    for (const Item& item : items) {
      leaves.push_back(item.entry.leaf);
      bodies.push_back(item.entry.body);
    }
    TRY(Sequencer::Place place, sequencer_.commit(leaves, bodies));
    sequencer_.notes_committed(count);
    acknowledge(items, place);
  }
  return {};
}

// The entries are durable: into the tree, then everybody may know.
void TrailWriter::acknowledge(std::vector<Item>& items, const Sequencer::Place& place) {
  if (!publisher_->behind()) publish_due_ = Clock::now() + options_.checkpoint_interval;
  uint64_t first = sequencer_.next_index() - items.size();
  for (size_t i = 0; i < items.size(); i++) {
    publisher_->append(items[i].entry.leaf);
    IndexRow& row = items[i].row;
    row.index = first + i;
    row.segment = place.segment.path();
    row.frame_offset = place.offset;
    row.position = static_cast<uint32_t>(i);
    if (index_) index_rows_.push_back(std::move(row));
  }
  Status told = lock_.set_sequenced(first + items.size());
  if (!told.ok()) spdlog::warn("trail lock_file error=\"{}\"", told.error().message);
  {
    std::lock_guard lock(mutex_);
    stats_.size = first + items.size();
    stats_.commits++;
    stats_.segment = place.segment.path();
  }
  changed_.notify_all();
  for (size_t i = 0; i < items.size(); i++) {
    if (items[i].durable) items[i].durable();
    if (options_.on_sequenced) options_.on_sequenced(first + i, items[i].entry.id);
    Waiter* waiter = items[i].waiter;
    if (waiter == nullptr) continue;
    std::lock_guard lock(waiter->mutex);
    waiter->result = first + i;
    waiter->done.notify_one();  // under the lock: the waiter is on the other thread's stack
  }
}

void TrailWriter::give_up(std::vector<Item>& items, const Error& error) {
  {
    std::lock_guard lock(mutex_);
    stats_.unwritten += items.size();
  }
  spdlog::error("trail gave_up records={} error=\"{}\"", items.size(), error.message);
  for (Item& item : items) {
    if (item.waiter == nullptr) continue;
    std::lock_guard lock(item.waiter->mutex);
    item.waiter->result = wrap(error, "the record was not written");
    item.waiter->done.notify_one();
  }
}

Status TrailWriter::try_publish() {
  TRY_STATUS(commit_notes());
  TRY_STATUS(publisher_->publish());
  Checkpoint published = publisher_->published();
  std::lock_guard lock(mutex_);
  stats_.published = published.size;
  stats_.root_base64 = base64_encode(bytes_of(published.root));
  return {};
}

void TrailWriter::publish_when_due(bool now) {
  while (publisher_->behind() && (now || Clock::now() >= publish_due_)) {
    Status done = try_publish();
    if (done.ok()) {
      retry_ = options_.retry_first;
      return;
    }
    failed(&TrailStats::publish_failures, "publish", done.error());
    // The files of an older size may still be in place; entries go on being sequenced meanwhile.
    publish_due_ = Clock::now() + retry_;
    retry_ = std::min(retry_ * 2, options_.retry_longest);
    if (!now || !wait_retry()) return;
  }
}

// Rows follow the log by at most 20 ms; readers find younger entries in the segments.
void TrailWriter::flush_index(bool now) {
  if (!index_ || index_rows_.empty() || (!now && index_rows_.size() < kIndexRows)) return;
  if (Clock::now() < index_retry_) {
    index_rows_.clear();  // found again in the segments by catch_up()
    return;
  }
  bool next = index_rows_.front().index == index_->covered();
  Status done = next ? index_->add(index_rows_) : index_->catch_up(log_id(options_.origin));
  index_rows_.clear();
  if (done.ok()) return;
  failed(&TrailStats::index_failures, "index", done.error());
  index_retry_ = Clock::now() + options_.retry_longest;
  auto again = Index::open(options_.dir, sequencer_.next_index());
  if (again.ok()) index_ = std::move(again.value());
}

// False: the trail is closing and has been patient for long enough.
bool TrailWriter::wait_retry() {
  std::unique_lock lock(mutex_);
  if (closing_ && Clock::now() >= give_up_at_) return false;
  auto until = Clock::now() + retry_;
  if (closing_) until = std::min(until, give_up_at_);
  changed_.wait_until(lock, until, [&] { return closing_ && Clock::now() >= give_up_at_; });
  retry_ = std::min(retry_ * 2, options_.retry_longest);
  return true;
}

void TrailWriter::failed(uint64_t TrailStats::*counter, const std::string& doing,
                         const Error& error) {
  spdlog::error("trail {} error=\"{}\"", doing, error.message);
  std::lock_guard lock(mutex_);
  stats_.*counter += 1;
  stats_.last_error = doing + ": " + error.message;
}

}  // namespace infertrail::trail
