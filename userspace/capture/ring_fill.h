// How full a BPF ring is, read from its position pages (Documentation/bpf/ringbuf.rst of the kernel): the
// first page has the consumer's position, the second the producer's.
// Thread: any, at any time. Borrows nothing: the mapping outlives the descriptor.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace infertrail {

class RingFill {
 public:
  // `fd` of a BPF_MAP_TYPE_RINGBUF.
  static Result<RingFill> open(int fd);
  RingFill() = default;
  ~RingFill();
  RingFill(RingFill&& other) noexcept;
  RingFill& operator=(RingFill&& other) noexcept;

  uint64_t produced() const { return position(producer_); }
  uint64_t consumed() const { return position(consumer_); }
  // Bytes that wait, headers of records and what is still being written included.
  uint64_t waiting() const;
  uint64_t size() const { return size_; }

 private:
  static uint64_t position(const void* page);
  void* consumer_ = nullptr;
  void* producer_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace infertrail
