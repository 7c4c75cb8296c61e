// What the kernel has told about the canary's exchange (canary.h), and what of it is missing.
// Thread-safe: the capture thread tells, the main thread asks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace infertrail {

class CanaryWatch {
 public:
  void begin(uint32_t tgid);   // forgets the one before
  void end() { tgid_ = 0; }
  bool is(uint32_t tgid) const { return tgid != 0 && tgid == tgid_; }

  void flow_opened();
  void object_opened(uint64_t object);
  void object_bound(uint64_t object);    // any object's: others are ignored, as in object_closed
  void object_closed(uint64_t object);
  void data(uint64_t object, uint8_t direction, std::string_view bytes);

  // The rings were read up to now; how often that was.
  void caught_up() { caught_up_++; }
  uint64_t times_caught_up() const { return caught_up_; }

  // "": everything came. Else what did not, in words.
  std::string missing() const;

 private:
  struct Object {
    std::array<std::string, 2> bytes;
    bool bound = false, closed = false;
  };
  std::atomic<uint32_t> tgid_{0};
  std::atomic<uint64_t> caught_up_{0};
  mutable std::mutex mutex_;
  uint64_t flows_ = 0;
  std::map<uint64_t, Object> objects_;
};

}  // namespace infertrail
