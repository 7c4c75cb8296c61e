// What stands in the carry's memory (daemon/carry.h): a header, then segments of records. Little more
// than a log; made for a writer that can be killed between any two stores. Read only by the same
// kernel boot, so native byte order.
//
//   MemoryHeader           4 KiB
//   Segment 0…N-1          SegmentHead, then RecordHead + payload, each 8-byte aligned
//
// A record counts when its commit word is its segment's and its CRC is right. The commit word is
// written last; it holds a secret, so that payload cannot look like a record. The payload of an anchor
// changes in place: two slots, written in turn, the newer one with a right CRC counts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infertrail::carry {

inline constexpr char kMagic[8] = {'i', 't', 'c', 'a', 'r', 'r', 'y', '\0'};
inline constexpr uint32_t kLayout = 1;   // of this file: another one is not read
inline constexpr size_t kHeaderBytes = 4096;

struct MemoryHeader {
  char magic[8];
  uint32_t layout;
  uint32_t abi;              // IT_ABI_VERSION: the records are the kernel's
  uint64_t bytes;            // of the whole memory
  uint64_t segment_bytes;
  uint64_t secret;
  char boot_id[40];
  uint64_t trail;            // which trail `mark` means
  uint32_t crc;              // CRC-32C of everything above
  uint32_t reserved;
  // Changed in place, each by one store.
  uint64_t mark;             // every entry of the trail below it is known here to be durable
  uint64_t streams;          // kept now
  uint64_t unkept;           // records that found no room and no stream to say so: after a kill, silence
};
static_assert(sizeof(MemoryHeader) <= kHeaderBytes);

struct SegmentHead {
  uint64_t epoch;            // 0: never used; changes when the segment is used again
  uint64_t reserved;
};

enum class Kind : uint8_t {
  kAnchor = 1,    // the first of each stream; records of a stream without one are dead
  kControl = 2,   // control_event as the kernel wrote it
  kData = 3,      // data_event and payload
  kLoss = 4,      // loss_event
  kIdentity = 5,  // Process and peer of the stream, serialized
  kEnded = 6,     // the stream ended with its process, or a TLS flow was reported as not visible: no payload
  kLoose = 7,     // of no stream yet: orphan_event and payload, or the end of a process
};

struct RecordHead {
  uint64_t commit;           // written last
  uint64_t sequence;         // order of writing; kept when the record is moved
  uint64_t stream;
  uint64_t from, to;         // kData, kLoss: stream offsets
  uint32_t bytes;            // of the payload
  uint32_t crc;              // CRC-32C of the fields behind it, of those before it but `commit`, of the payload
  uint8_t kind;
  uint8_t tls;
  uint8_t side;
  uint8_t dead;              // kAnchor, kLoose: not needed any more. Not under the CRC
  uint32_t reserved;
  uint64_t reserved2;
};
static_assert(sizeof(RecordHead) == 64);

// How far a stream is durable, and which of its bytes had to go.
struct Progress {
  uint64_t version = 0;
  uint64_t from[2] = {0, 0};          // as Resume
  uint64_t evicted[2][2] = {};        // by side: [from, to), empty when equal
  uint32_t count = 0;
  uint32_t done = 0;                  // exchanges from there on that are durable, in the order of ending
  uint8_t role = 0;
  uint8_t reserved[7] = {};
  char protocol[16] = "";             // "" while there is no such place
  uint32_t crc = 0;                   // of everything above
  uint32_t reserved2 = 0;
};
static_assert(sizeof(Progress) == 96);

struct Anchor {
  Progress slots[2];
};

inline constexpr size_t aligned(size_t bytes) { return (bytes + 7) & ~size_t{7}; }

}  // namespace infertrail::carry
