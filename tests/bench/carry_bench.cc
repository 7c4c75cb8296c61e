// What the carry costs the capture thread: records of several sizes handed through Intake with and without
// one, the workers left out. carry_bench [MIB_PER_SIZE]. Prints MB/s and the ratio with/without.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "daemon/carry.h"
#include "daemon/clock.h"
#include "daemon/intake.h"
#include "unit/daemon/all_targets.h"

namespace infertrail {
namespace {

constexpr uint64_t kStreams = 64;
constexpr uint64_t kExchange = 1u << 20;   // durable after so many bytes

// Seconds for `total` bytes in records of `size`, on several streams in turn.
double run(Carry& carry, size_t size, uint64_t total) {
  AllTargets targets;
  Resolver resolver;
  Coverage coverage;
  Intake intake(targets, resolver, coverage, 1, [](size_t, std::vector<StreamMessage>) {}, nullptr, &carry);
  const std::string payload(size, 'x');
  abi::data_event event{};
  event.header.type = IT_TLS_DATA;
  event.length = static_cast<uint32_t>(size);
  std::vector<uint64_t> offset(kStreams), durable(kStreams);
  const uint64_t began = monotonic_now_ns();
  for (uint64_t done = 0, i = 0; done < total; done += size, i = (i + 1) % kStreams) {
    event.stream = i + 1;
    event.offset = offset[i];
    event.header.time_ns = began;
    intake.on_data(event, payload);
    offset[i] += size;
    if (offset[i] - durable[i] < kExchange / kStreams * 16) continue;
    durable[i] = offset[i];
    const StreamId id{event.stream, true};
    carry.durable(id, carry.handed(id, Resume{{offset[i], 0}, 1, 0, IT_ROLE_SERVER, "http1"}));
  }
  return static_cast<double>(monotonic_now_ns() - began) / 1e9;
}

int main(int argc, char** argv) {
  const uint64_t total = (argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1024) << 20;
  std::vector<uint64_t> memory((64u << 20) / 8);
  std::printf("%8s %12s %12s %7s %10s\n", "record", "without", "with", "ratio", "ns/record");
  for (size_t size : {64, 256, 1024, 4096, 16384, 65536}) {
    Carry none;
    Carry carry(std::as_writable_bytes(std::span(memory)), {"bench", 1});
    const uint64_t bytes = std::min<uint64_t>(total, size * 4'000'000);
    run(carry, size, bytes / 8);   // warm
    const double without = run(none, size, bytes), with = run(carry, size, bytes);
    std::printf("%8zu %9.0f MB/s %7.0f MB/s %7.2f %10.0f\n", size, static_cast<double>(bytes) / 1e6 / without,
                static_cast<double>(bytes) / 1e6 / with, without / with,
                (with - without) * 1e9 / (static_cast<double>(bytes) / static_cast<double>(size)));
    std::fill(memory.begin(), memory.end(), 0);
  }
  return 0;
}

}  // namespace
}  // namespace infertrail

int main(int argc, char** argv) { return infertrail::main(argc, argv); }
