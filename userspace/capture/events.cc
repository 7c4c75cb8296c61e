#include "capture/events.h"

#include <bpf/libbpf.h>
#include <sys/epoll.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace infertrail {
namespace {

// One round takes at most this much, so that ends and ticks are not starved by a fast producer.
constexpr uint64_t kRoundBytes = 32u << 20;
constexpr int kRoundOver = -ECANCELED;

size_t size_of(uint16_t type) {
  switch (type) {
    case IT_EXEC: return sizeof(abi::exec_event);
    case IT_FORK: return sizeof(abi::fork_event);
    case IT_EXIT:
    case IT_MAPPED: return sizeof(abi::process_event);
    case IT_LISTEN: return sizeof(abi::listen_event);
    case IT_FLOW_OPEN: return sizeof(abi::flow_open_event);
    case IT_FLOW_CLOSE: return sizeof(abi::flow_close_event);
    case IT_FLOW_OWNER: return sizeof(abi::flow_owner_event);
    case IT_FLOW_TLS_BEGINS: return sizeof(abi::flow_tls_event);
    case IT_TLS_OPEN: return sizeof(abi::tls_open_event);
    case IT_TLS_CLOSE:
    case IT_TLS_SHUTDOWN: return sizeof(abi::tls_close_event);
    case IT_BIND: return sizeof(abi::bind_event);
    case IT_LOSS: return sizeof(abi::loss_event);
    case IT_FLOW_WIRE: return sizeof(abi::flow_wire_event);
    default: return 0;
  }
}

bool ends_something(uint16_t type) {
  return type == IT_FLOW_CLOSE || type == IT_TLS_CLOSE || type == IT_TLS_SHUTDOWN ||
         type == IT_EXIT || type == IT_LOSS || type == IT_FLOW_WIRE;
}

template <typename T>
const T& as(std::string_view record) {
  return *reinterpret_cast<const T*>(record.data());   // ring samples are 8-byte aligned
}

Status watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
    return Error{Code::kIo, std::string("epoll_ctl: ") + std::strerror(errno)};
  return {};
}

}  // namespace

Result<std::unique_ptr<Events>> Events::open(const Probes& probes, CaptureHandler& handler) {
  std::unique_ptr<Events> events(new Events(handler));
  events->control_ = ring_buffer__new(probes.control_fd(), on_control_record, events.get(), nullptr);
  events->data_ = ring_buffer__new(probes.data_fd(), on_data_record, events.get(), nullptr);
  if (!events->control_ || !events->data_)
    return Error{Code::kIo, std::string("map the event rings: ") + std::strerror(errno)};
  TRY(events->fill_, RingFill::open(probes.data_fd()));
  events->epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
  if (!events->epoll_.valid())
    return Error{Code::kIo, std::string("epoll_create1: ") + std::strerror(errno)};
  TRY_STATUS(watch(events->epoll_.get(), probes.control_fd()));
  TRY_STATUS(watch(events->epoll_.get(), probes.data_fd()));
  return events;
}

Events::~Events() {
  ring_buffer__free(control_);
  ring_buffer__free(data_);
}

Status Events::round(int timeout_ms) {
  epoll_event ready[2];
  if (epoll_wait(epoll_.get(), ready, 2, timeout_ms) < 0 && errno != EINTR)
    return Error{Code::kIo, std::string("epoll_wait: ") + std::strerror(errno)};
  if (int n = ring_buffer__consume(control_); n < 0)
    return Error{Code::kIo, std::string("read the control ring: ") + std::strerror(-n)};
  round_bytes_ = 0;
  const uint64_t written = fill_.produced();
  const int n = ring_buffer__consume(data_);
  if (n < 0 && n != kRoundOver)
    return Error{Code::kIo, std::string("read the data ring: ") + std::strerror(-n)};
  drained_ = fill_.consumed() >= written;
  if (!drained_) return {};
  std::vector<std::string> ends;
  ends.swap(later_);
  for (const std::string& record : ends) deliver(as<abi::event_header>(record), record);
  return {};
}

int Events::on_control_record(void* self, void* record, size_t size) {
  auto* events = static_cast<Events*>(self);
  events->counts_.events++;
  if (!events->control({static_cast<const char*>(record), size}, false)) events->counts_.malformed++;
  return 0;
}

int Events::on_data_record(void* self, void* record, size_t size) {
  auto* events = static_cast<Events*>(self);
  events->counts_.events++;
  if (!events->data({static_cast<const char*>(record), size})) events->counts_.malformed++;
  events->round_bytes_ += size;
  return events->round_bytes_ > kRoundBytes ? kRoundOver : 0;
}

bool Events::control(std::string_view record, bool held_before) {
  if (record.size() < sizeof(abi::event_header)) return false;
  const auto& header = as<abi::event_header>(record);
  const size_t expected = size_of(header.type);
  if (expected == 0 || record.size() < expected || header.size != expected) return false;
  if (!ends_something(header.type)) {
    deliver(header, record);
    return true;
  }
  if (!held_before) handler_.on_held(header, record.substr(0, expected));
  later_.emplace_back(record.substr(0, expected));
  return true;
}

void Events::replay_control(std::string_view record) {
  if (!control(record, true)) counts_.malformed++;
}

void Events::replay_data(std::string_view record) {
  const uint64_t bytes = counts_.bytes;
  if (!data(record)) counts_.malformed++;
  counts_.bytes = bytes;
}

void Events::deliver(const abi::event_header& header, std::string_view record) {
  switch (header.type) {
    case IT_EXEC: return handler_.on_exec(as<abi::exec_event>(record));
    case IT_FORK: return handler_.on_fork(as<abi::fork_event>(record));
    case IT_EXIT: return handler_.on_exit(as<abi::process_event>(record));
    case IT_MAPPED: return handler_.on_mapped(as<abi::process_event>(record));
    case IT_LISTEN: return handler_.on_listen(as<abi::listen_event>(record));
    case IT_FLOW_OPEN: return handler_.on_flow_open(as<abi::flow_open_event>(record));
    case IT_FLOW_CLOSE: return handler_.on_flow_close(as<abi::flow_close_event>(record));
    case IT_FLOW_WIRE: return handler_.on_flow_wire(as<abi::flow_wire_event>(record));
    case IT_FLOW_OWNER: return handler_.on_flow_owner(as<abi::flow_owner_event>(record));
    case IT_FLOW_TLS_BEGINS: return handler_.on_flow_tls(as<abi::flow_tls_event>(record));
    case IT_TLS_OPEN: return handler_.on_tls_open(as<abi::tls_open_event>(record));
    case IT_TLS_CLOSE: return handler_.on_tls_close(as<abi::tls_close_event>(record));
    case IT_TLS_SHUTDOWN: return handler_.on_tls_shutdown(as<abi::tls_close_event>(record));
    case IT_BIND: return handler_.on_bind(as<abi::bind_event>(record));
    case IT_LOSS: return handler_.on_loss(as<abi::loss_event>(record));
    default: return;   // control() let no other type through
  }
}

bool Events::data(std::string_view record) {
  if (record.size() < sizeof(abi::data_event)) return false;
  const auto& event = as<abi::data_event>(record);
  const bool orphan = event.header.type == IT_ORPHAN_DATA;
  const size_t head = orphan ? sizeof(abi::orphan_event) : sizeof(abi::data_event);
  if (!orphan && event.header.type != IT_TLS_DATA && event.header.type != IT_FLOW_DATA) return false;
  if (record.size() < head || event.length > record.size() - head || event.direction > 1) return false;
  std::string_view payload = record.substr(head, event.length);
  counts_.bytes += payload.size();
  if (orphan)
    handler_.on_orphan(as<abi::orphan_event>(record), payload);
  else
    handler_.on_data(event, payload);
  return true;
}

}  // namespace infertrail
