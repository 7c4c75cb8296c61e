// Drains the two kernel rings and hands each record, checked, to a handler.
//
// Order: a round reads the control ring to its end, hands out what opens things at once, then reads
// the data ring, and only when that ran empty hands out what ends things (close, exit, loss). So
// every byte is handed out before the end of its stream.
// Thread: the capture thread. Nothing is parsed here; views are valid during the call only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "capture/probes.h"
#include "capture/ring_fill.h"
#include "infertrail/event.h"

struct ring_buffer;

namespace infertrail {

class CaptureHandler {
 public:
  virtual ~CaptureHandler() = default;
  virtual void on_exec(const abi::exec_event& event) = 0;
  virtual void on_fork(const abi::fork_event& event) = 0;
  virtual void on_exit(const abi::process_event& event) = 0;
  virtual void on_mapped(const abi::process_event& event) = 0;
  virtual void on_listen(const abi::listen_event& event) = 0;
  virtual void on_flow_open(const abi::flow_open_event& event) = 0;
  virtual void on_flow_close(const abi::flow_close_event& event) = 0;
  virtual void on_flow_wire(const abi::flow_wire_event& event) = 0;
  virtual void on_flow_owner(const abi::flow_owner_event& event) = 0;
  virtual void on_flow_tls(const abi::flow_tls_event& event) = 0;
  virtual void on_tls_open(const abi::tls_open_event& event) = 0;
  virtual void on_tls_close(const abi::tls_close_event& event) = 0;
  virtual void on_tls_shutdown(const abi::tls_close_event& event) = 0;
  virtual void on_bind(const abi::bind_event& event) = 0;
  virtual void on_loss(const abi::loss_event& event) = 0;
  virtual void on_data(const abi::data_event& event, std::string_view payload) = 0;
  virtual void on_orphan(const abi::orphan_event& event, std::string_view payload) = 0;
  // The record ends something and is handed out later, when the data ring is empty; the control ring
  // forgets it right after this call.
  virtual void on_held(const abi::event_header&, std::string_view) {}
};

struct EventCounts {
  uint64_t events = 0, bytes = 0, malformed = 0;
};

class Events {
 public:
  static Result<std::unique_ptr<Events>> open(const Probes& probes, CaptureHandler& handler);
  ~Events();

  // Waits up to `timeout_ms` for records, then reads one round.
  Status round(int timeout_ms);
  // Records of a daemon that was killed, before the first round: handed out as those of the rings
  // are, what ends things with the first round that drains the data ring. Not counted.
  void replay_control(std::string_view record);
  void replay_data(std::string_view record);
  // The last round handed out every byte that was in the data ring when it began.
  bool drained() const { return drained_; }
  const EventCounts& counts() const { return counts_; }
  // Of the data ring; any thread.
  uint64_t waiting_bytes() const { return fill_.waiting(); }
  uint64_t ring_bytes() const { return fill_.size(); }

 private:
  explicit Events(CaptureHandler& handler) : handler_(handler) {}
  static int on_control_record(void* self, void* record, size_t size);
  static int on_data_record(void* self, void* record, size_t size);
  bool control(std::string_view record, bool held_before);
  void deliver(const abi::event_header& header, std::string_view record);
  bool data(std::string_view record);

  CaptureHandler& handler_;
  ring_buffer* control_ = nullptr;
  ring_buffer* data_ = nullptr;

  // libbpf stops reading the data ring at a record that is still being written, and does not say so;
  // records behind it must not be overtaken by the end of their stream.
  RingFill fill_;
  bool drained_ = true;
  Fd epoll_;
  EventCounts counts_;
  uint64_t round_bytes_ = 0;
  std::vector<std::string> later_;   // records that end things, until the data ring ran empty
};

}  // namespace infertrail
