#include "daemon/canary_watch.h"

#include "daemon/canary_child.h"
#include "infertrail/event.h"

namespace infertrail {

void CanaryWatch::begin(uint32_t tgid) {
  std::lock_guard lock(mutex_);
  flows_ = 0;
  objects_.clear();
  tgid_ = tgid;
}

void CanaryWatch::flow_opened() {
  std::lock_guard lock(mutex_);
  flows_++;
}

void CanaryWatch::object_opened(uint64_t object) {
  std::lock_guard lock(mutex_);
  objects_[object];
}

void CanaryWatch::object_bound(uint64_t object) {
  if (tgid_ == 0) return;
  std::lock_guard lock(mutex_);
  if (auto at = objects_.find(object); at != objects_.end()) at->second.bound = true;
}

void CanaryWatch::object_closed(uint64_t object) {
  if (tgid_ == 0) return;
  std::lock_guard lock(mutex_);
  if (auto at = objects_.find(object); at != objects_.end()) at->second.closed = true;
}

void CanaryWatch::data(uint64_t object, uint8_t direction, std::string_view bytes) {
  std::lock_guard lock(mutex_);
  objects_[object].bytes[direction & 1].append(bytes);
}

std::string CanaryWatch::missing() const {
  std::lock_guard lock(mutex_);
  std::string out;
  auto need = [&](bool there, const char* what) {
    if (!there) out += (out.empty() ? "" : ", ") + std::string(what);
  };
  auto anyone = [&](uint8_t direction, std::string_view text) {
    for (auto& [id, object] : objects_)
      if (object.bytes[direction] == text) return true;
    return false;
  };
  size_t bound = 0, closed = 0;
  for (auto& [id, object] : objects_) {
    bound += object.bound;
    closed += object.closed;
  }
  need(flows_ >= 2, "connections (cgroup_skb)");
  need(objects_.size() >= 2, "TLS objects");
  need(bound >= 2, "which connection an object belongs to (BIO_write, cgroup_skb egress)");
  need(anyone(IT_OUT, kCanaryQuestion), "SSL_write");
  need(anyone(IT_IN, kCanaryQuestion), "SSL_read");
  need(anyone(IT_OUT, kCanaryAnswer), "SSL_write_ex");
  need(anyone(IT_IN, kCanaryAnswer), "SSL_read_ex");
  need(closed >= 2, "SSL_free");
  return out;
}

}  // namespace infertrail
