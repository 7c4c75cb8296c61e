// Makes of a Record what the trail stores: the body bytes, and the leaf entry that commits to them.
// Thread: pure functions but for the random numbers, which may be drawn from any thread.
#pragma once

#include <string>

#include "base/result.h"
#include "infertrail/record.pb.h"

namespace infertrail::trail {

inline constexpr size_t kMaxLeafBytes = 2048;
inline constexpr size_t kSaltBytes = 32;

struct Entry {
  std::string id;
  std::string body;  // the Record, serialized without its index: the bytes that the leaf commits to
  std::string leaf;  // the Leaf, serialized: the bytes that the tree hashes; at most kMaxLeafBytes
};

// Fills in what is missing (id, salt), repairs text that is not UTF-8 (protobuf could not read it
// back), and serializes. `record` then is what a reader will get. `note` goes into the leaf.
// kExhausted: the record is larger than kMaxRecordBytes.
Result<Entry> make_entry(Record& record, const std::string& boot_id, const std::string& note = {});

// Checks stored bytes against the leaf and parses them. The record has its index set.
Result<Record> open_record(uint64_t index, std::string_view leaf, std::string_view body);

}  // namespace infertrail::trail
