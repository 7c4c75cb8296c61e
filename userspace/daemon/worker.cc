#include "daemon/worker.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "daemon/clock.h"

namespace infertrail {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr size_t kQueueItems = 4096;

}  // namespace

Worker::Worker(const WorkerOptions& options, std::unique_ptr<Pipeline> pipeline)
    : options_(options),
      carry_(options.carry ? *options.carry : no_carry_),
      pipeline_(std::move(pipeline)),
      queue_(kQueueItems, options.queue_bytes),
      thread_([this] { run(); }) {}

Worker::~Worker() {
  queue_.close();
  thread_.join();
}

void Worker::push(std::vector<StreamMessage> messages) {
  size_t weight = 0;
  for (const StreamMessage& message : messages) weight += sizeof(message) + message.bytes.size();
  // A closed queue means that the daemon is stopping: the capture thread has ended by then.
  IT_CHECK(queue_.push(std::move(messages), weight));
}

WorkerCounts Worker::counts() const { return {session_count_, memory_, given_up_count_}; }

void Worker::run() {
  auto next_tick = std::chrono::steady_clock::now() + kTick;
  for (;;) {
    auto batches = queue_.pop(64, 16u << 20, next_tick);
    for (auto& batch : batches)
      for (StreamMessage& message : batch) handle(std::move(message));
    if (batches.empty() && queue_.closed()) break;
    if (std::chrono::steady_clock::now() >= next_tick) {
      bound_memory(unix_now_ns());
      session_count_ = sessions_.size();
      given_up_count_ = given_up_;
      next_tick = std::chrono::steady_clock::now() + kTick;
    }
  }
  if (leave_open_) return;
  const uint64_t now = unix_now_ns();
  for (auto& [id, session] : sessions_) {
    session->stop(now);
    record(*session);
    carry_.closed(session->id());
  }
}

void Worker::handle(StreamMessage message) {
  const uint64_t now = message.time_ns;
  if (message.kind == StreamMessage::Kind::kTick) {
    tick(now);
    ticks_++;
    return;
  }
  if (message.kind == StreamMessage::Kind::kForget) {
    sessions_.erase({message.stream.tls, message.stream.id});
    return;
  }
  auto& session = sessions_[{message.stream.tls, message.stream.id}];
  if (!session) {
    // Data and openings come in different rings: the first of either makes the session. What another
    // daemon began, begins here with where it stood or with what is not there any more of it.
    const bool left = message.kind == StreamMessage::Kind::kLoss && message.reason == GapReason::kDaemonDown;
    if (message.kind != StreamMessage::Kind::kOpen && message.kind != StreamMessage::Kind::kData &&
        message.kind != StreamMessage::Kind::kBind && message.kind != StreamMessage::Kind::kResume && !left) {
      if (message.kind == StreamMessage::Kind::kClose) carry_.closed(message.stream);
      sessions_.erase({message.stream.tls, message.stream.id});
      return;
    }
    session = std::make_unique<Session>(message.stream, options_.session, now);
  }
  const StreamId id = message.stream;
  switch (message.kind) {
    case StreamMessage::Kind::kResume: session->resume(*message.resume); break;
    case StreamMessage::Kind::kOpen: session->open(std::move(*message.facts)); break;
    case StreamMessage::Kind::kBind: session->bind(*message.facts); break;
    case StreamMessage::Kind::kOwner: session->owner(message.facts->process); break;
    case StreamMessage::Kind::kData: session->data(std::move(message)); break;
    case StreamMessage::Kind::kLoss: session->loss(message); break;
    case StreamMessage::Kind::kClose: session->close(message); break;
    case StreamMessage::Kind::kTick:
    case StreamMessage::Kind::kForget: break;   // above
  }
  record(*session);
  if (!session->closed()) return;
  sessions_.erase({id.tls, id.id});
  carry_.closed(id);
}

void Worker::record(Session& session) {
  std::vector<Exchange> taken = session.take(now_ns_);
  if (taken.empty()) return;
  const StreamId id = session.id();
  Carry* const carry = carry_.enabled() ? &carry_ : nullptr;
  std::optional<Resume> resume = carry ? session.resume_point() : std::nullopt;
  for (const Exchange& exchange : taken) {
    const uint64_t ticket = carry_.handed(id, &exchange == &taken.back() ? std::move(resume) : std::nullopt);
    if (session.recorded_before(exchange) || (!session.diverged() && written(id, exchange.number))) {
      carry_.durable(id, ticket);
      continue;
    }
    std::function<void()> durable;
    if (carry) durable = [carry, id, ticket] { carry->durable(id, ticket); };
    pipeline_->record(exchange, session.facts(), id, std::move(durable));
  }
}

bool Worker::written(StreamId stream, uint32_t number) const {
  return options_.written && options_.written->contains({stream.tls, stream.id, number});
}

void Worker::tick(uint64_t now_ns) {
  now_ns_ = now_ns;
  for (auto at = sessions_.begin(); at != sessions_.end();) {
    Session& session = *at->second;
    session.tick(now_ns);
    if (now_ns > session.last_activity_ns() && now_ns - session.last_activity_ns() > options_.idle_ns)
      session.stop(now_ns);
    record(session);
    if (!session.closed()) {
      ++at;
      continue;
    }
    carry_.closed(session.id());
    at = sessions_.erase(at);
  }
}

// Over the bound the heaviest connection is recorded as far as it goes, with its gap.
void Worker::bound_memory(uint64_t now_ns) {
  size_t total = 0;
  for (auto& [id, session] : sessions_) total += session->memory_bytes();
  while (total > options_.max_memory_bytes && !sessions_.empty()) {
    auto heaviest = std::max_element(sessions_.begin(), sessions_.end(), [](auto& a, auto& b) {
      return a.second->memory_bytes() < b.second->memory_bytes();
    });
    const size_t before = heaviest->second->memory_bytes();
    heaviest->second->give_up(now_ns);
    record(*heaviest->second);
    const size_t after = heaviest->second->memory_bytes();
    given_up_++;
    spdlog::warn("stream={} freed={} reason=memory_limit", heaviest->first.second, before - after);
    if (after >= before) break;   // nothing more can be freed
    total -= before - after;
  }
  memory_ = total;
}

}  // namespace infertrail
