#include "capture/ring_fill.h"

#include <bpf/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace infertrail {
namespace {

size_t page_size() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

Result<RingFill> RingFill::open(int fd) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0)
    return Error{Code::kIo, std::string("ask for the size of a ring: ") + std::strerror(errno)};
  RingFill out;
  out.size_ = info.max_entries;
  for (auto [into, offset] : {std::pair{&out.consumer_, size_t{0}}, {&out.producer_, page_size()}}) {
    void* mapped = mmap(nullptr, page_size(), PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (mapped == MAP_FAILED)
      return Error{Code::kIo, std::string("map the positions of a ring: ") + std::strerror(errno)};
    *into = mapped;
  }
  return out;
}

RingFill::~RingFill() {
  for (void* page : {consumer_, producer_})
    if (page) munmap(page, page_size());
}

RingFill::RingFill(RingFill&& other) noexcept { *this = std::move(other); }

RingFill& RingFill::operator=(RingFill&& other) noexcept {
  std::swap(consumer_, other.consumer_);
  std::swap(producer_, other.producer_);
  std::swap(size_, other.size_);
  return *this;
}

uint64_t RingFill::position(const void* page) {
  return page ? __atomic_load_n(static_cast<const unsigned long*>(page), __ATOMIC_ACQUIRE) : 0;
}

uint64_t RingFill::waiting() const {
  const uint64_t from = consumed(), to = produced();   // in this order: never negative
  return to - from;
}

}  // namespace infertrail
