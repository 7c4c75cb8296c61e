// What a kernel would say: connections of two processes, plain and TLS, their records mixed as rings mix them.
#pragma once

#include <infertrail/event.h>

#include <deque>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/clock.h"

namespace infertrail {

inline constexpr uint32_t kServer = 100, kEnds = 101;   // processes; the second ends, and its pid is another's then

template <typename T>
T event(uint16_t type) {
  T out{};
  out.header.type = type;
  out.header.size = sizeof(T);
  return out;
}

template <typename T>
std::string raw(const T& event, std::string_view payload = {}) {
  return std::string(reinterpret_cast<const char*>(&event), sizeof(event)) + std::string(payload);
}

class Script {
 public:
  explicit Script(uint32_t seed) : random_(seed) {
    std::vector<std::deque<std::string>> waiting;
    for (uint64_t id = 1; id <= 40; id++) waiting.push_back(talk(id));
    // First those of the process that ends, with some others in between.
    interleave(waiting, [](size_t i) { return i < 20; });
    auto exit = event<abi::process_event>(IT_EXIT);
    exit.tgid = kEnds;
    records.push_back(raw(exit));
    gone_at = records.size();
    interleave(waiting, [](size_t) { return true; });
    const uint64_t begin = monotonic_now_ns() - records.size() * 100'000;
    for (size_t i = 0; i < records.size(); i++)
      reinterpret_cast<abi::event_header*>(records[i].data())->time_ns = begin + i * 100'000;
  }

  std::vector<std::string> records;
  size_t gone_at = 0;

 private:
  uint32_t dice(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  template <typename Choose>
  void interleave(std::vector<std::deque<std::string>>& waiting, Choose choose) {
    for (;;) {
      std::vector<size_t> open;
      for (size_t i = 0; i < waiting.size(); i++)
        if (!waiting[i].empty() && choose(i)) open.push_back(i);
      if (open.empty()) return;
      auto& from = waiting[open[dice(std::min<uint32_t>(8, static_cast<uint32_t>(open.size())))]];
      records.push_back(std::move(from.front()));
      from.pop_front();
    }
  }

  std::string bytes(size_t size, bool text) {
    std::string out(size, ' ');
    for (char& c : out) c = text ? static_cast<char>('a' + dice(26)) : static_cast<char>(128 + dice(100));
    return out;
  }

  void say(uint8_t side, const std::string& what) {
    for (size_t at = 0; at < what.size();) {
      const size_t size = std::min<size_t>(what.size() - at, 1 + dice(dice(3) == 0 ? 20 : 4000));
      auto data = event<abi::data_event>(object_ ? IT_TLS_DATA : IT_FLOW_DATA);
      data.stream = object_ ? object_ : cookie_;
      data.offset = offset_[side];
      data.length = static_cast<uint32_t>(size);
      data.direction = side;
      data.tgid = tgid_;
      out_.push_back(raw(data, std::string_view(what).substr(at, size)));
      offset_[side] += size;
      at += size;
      // Plain packets may come the other way round.
      if (!object_ && at > size && dice(8) == 0 && out_.size() > 3) std::swap(out_[out_.size() - 1], out_[out_.size() - 2]);
    }
  }

  void lose(uint8_t side, uint64_t size) {
    auto loss = event<abi::loss_event>(IT_LOSS);
    loss.stream = object_ ? object_ : cookie_;
    loss.is_tls = object_ != 0;
    loss.direction = side;
    loss.from = offset_[side];
    loss.to = offset_[side] += size;
    loss.reason = IT_LOSS_FAULT;
    out_.push_back(raw(loss));
  }

  std::string request(uint32_t number, size_t size) {
    return "POST /v1/x?stream=" + std::to_string(cookie_) + "&n=" + std::to_string(number) +
           " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  }

  void exchange(uint32_t number) {
    const size_t size = dice(dice(4) == 0 ? 20000 : 300);
    say(IT_IN, request(number, size) + bytes(size, true));
    if (dice(5) == 0) say(IT_OUT, "HTTP/1.1 100 Continue\r\n\r\n");
    if (dice(3) == 0) {
      const size_t length = 1 + dice(9000);
      say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n" + bytes(length, true));
      return;
    }
    say(IT_OUT, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (uint32_t i = dice(30); i > 0; i--) {
      const std::string piece = "data: " + bytes(1 + dice(200), true) + "\n\n";
      char length[16];
      std::snprintf(length, sizeof(length), "%zx\r\n", piece.size());
      say(IT_OUT, length + piece + "\r\n");
    }
    say(IT_OUT, "0\r\n\r\n");
  }

  void pipelined(uint32_t number) {
    say(IT_IN, request(number, 3) + "abc" + request(number + 1, 0));
    for (int i = 0; i < 2; i++) say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + bytes(5, true));
  }

  std::deque<std::string> talk(uint64_t id) {
    out_.clear();
    offset_[0] = offset_[1] = 0;
    cookie_ = 1000 + id;
    object_ = id % 2 == 0 ? id : 0;
    tgid_ = id <= 20 && id % 3 == 0 ? kEnds : kServer;
    const uint32_t kind = dice(10);
    auto open = event<abi::flow_open_event>(IT_FLOW_OPEN);
    open.cookie = cookie_;
    open.tgid = kServer;
    open.role = IT_ROLE_SERVER;
    open.flags = object_ ? IT_FLOW_TLS : 0;
    open.base_in = 7;
    open.addresses.local_port = 8000;
    open.addresses.remote_port = static_cast<uint16_t>(id);
    if (!object_ && kind < 2) {   // its first bytes came with the handshake's end
      const std::string first = request(0, 0).substr(0, 10);
      abi::orphan_event orphan{};
      orphan.data.header.type = IT_ORPHAN_DATA;
      orphan.data.offset = 7;
      orphan.data.length = 10;
      orphan.addresses = open.addresses;
      out_.push_back(raw(orphan, first));
      out_.push_back(raw(open));
      offset_[IT_IN] = 10;
      say(IT_IN, request(0, 0).substr(10));
      say(IT_OUT, "HTTP/1.1 204 No Content\r\n\r\n");
    } else {
      if (!object_ && tgid_ == kEnds) {   // accepted by another process before its first byte
        auto owner = event<abi::flow_owner_event>(IT_FLOW_OWNER);
        owner.cookie = cookie_;
        owner.tgid = tgid_;
        out_.push_back(raw(owner));
      }
      out_.push_back(raw(open));
    }
    if (object_) {
      auto fresh = event<abi::tls_open_event>(IT_TLS_OPEN);
      fresh.object = object_;
      fresh.tgid = tgid_;
      out_.push_back(raw(fresh));
      if (kind % 2 == 0) say(IT_IN, "POST /v1/late HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
      auto bind = event<abi::bind_event>(IT_BIND);
      bind.object = object_;
      bind.cookie = cookie_;
      bind.role = IT_ROLE_SERVER;
      bind.flags = IT_BIND_HELLO;
      out_.push_back(raw(bind));
      if (kind % 2 == 0) say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
    if (kind == 3) {
      for (int i = 0; i < 10; i++) say(static_cast<uint8_t>(dice(2)), bytes(1 + dice(20000), false));
    } else {
      for (uint32_t i = 1 + dice(8); i > 0; i--) dice(6) == 0 ? pipelined(i) : exchange(i);
      if (kind == 4) {
        say(IT_IN, "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
        say(IT_OUT, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
        for (int i = 0; i < 8; i++) say(static_cast<uint8_t>(dice(2)), bytes(1 + dice(20000), false));
      }
      if (kind == 5) {   // a hole in a body, and an exchange behind it
        say(IT_IN, request(90, 0));
        say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes(500, true));
        lose(IT_OUT, 1000);
        say(IT_OUT, bytes(1500, true));
        exchange(91);
      }
      if (kind == 6) {   // cut off
        say(IT_IN, request(92, 1000) + bytes(1000, true));
        say(IT_OUT, "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes(700, true));
      }
    }
    if (object_ && tgid_ != kEnds) {
      auto close = event<abi::tls_close_event>(IT_TLS_CLOSE);
      close.object = object_;
      close.end[IT_IN] = offset_[IT_IN];
      close.end[IT_OUT] = offset_[IT_OUT];
      out_.push_back(raw(close));
    }
    auto close = event<abi::flow_close_event>(IT_FLOW_CLOSE);
    close.cookie = cookie_;
    close.end[IT_IN] = offset_[IT_IN];
    close.end[IT_OUT] = offset_[IT_OUT];
    out_.push_back(raw(close));
    if (object_ && dice(2) == 0 && tgid_ != kEnds) std::swap(out_[out_.size() - 1], out_[out_.size() - 2]);
    return out_;
  }

  std::mt19937 random_;
  std::deque<std::string> out_;
  uint64_t cookie_ = 0, object_ = 0, offset_[2] = {0, 0};
  uint32_t tgid_ = 0;
};

}  // namespace infertrail
