#include "capture/ring_backlog.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "infertrail/event.h"

namespace infertrail {
namespace {

struct Unmap {
  size_t size;
  void operator()(void* at) const { munmap(at, size); }
};
using Mapped = std::unique_ptr<void, Unmap>;

Result<Mapped> map_pages(int fd, size_t offset, size_t size) {
  void* at = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) return Error{Code::kIo, std::string("map a ring: ") + std::strerror(errno)};
  return Mapped(at, Unmap{size});
}

uint64_t load(const void* at) {
  return __atomic_load_n(static_cast<const unsigned long*>(at), __ATOMIC_ACQUIRE);
}

}  // namespace

Result<RingBacklog> ring_backlog(int ring_fd) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(ring_fd, &info, &length) != 0 || info.type != BPF_MAP_TYPE_RINGBUF)
    return Error{Code::kIo, std::string("not a ring: ") + std::strerror(errno)};
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const uint64_t size = info.max_entries;
  TRY(Mapped consumer, map_pages(ring_fd, 0, page));
  // The producer's page, then the data twice in a row, so that no record is cut.
  TRY(Mapped producer, map_pages(ring_fd, page, page + 2 * size));
  const char* data = static_cast<const char*>(producer.get()) + page;
  RingBacklog out;
  const uint64_t end = load(producer.get());
  for (uint64_t at = load(consumer.get()); at < end;) {
    const char* record = data + (at & (size - 1));
    const uint32_t head = __atomic_load_n(reinterpret_cast<const uint32_t*>(record), __ATOMIC_ACQUIRE);
    const uint32_t bytes = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    if (head & BPF_RINGBUF_BUSY_BIT) break;   // being written: what is behind it is not settled either
    at += (bytes + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
    if (head & BPF_RINGBUF_DISCARD_BIT) continue;
    out.records++;
    out.bytes += bytes;
    if (out.oldest_ns == 0 && bytes >= sizeof(abi::event_header))
      out.oldest_ns = reinterpret_cast<const abi::event_header*>(record + BPF_RINGBUF_HDR_SZ)->time_ns;
  }
  return out;
}

}  // namespace infertrail
