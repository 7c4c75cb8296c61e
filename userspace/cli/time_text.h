// Times and durations as people write and read them. Thread: pure functions, but for the local time
// zone, which is the process's.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace infertrail::cli {

using google::protobuf::Timestamp;

// "10m", "2h", "1h30m", "3d ago" (units s m h d w, counted back from `now`), "now", or a date and time:
// 2026-05-02T14:03:12.5+02:00 (RFC 3339), 2026-05-02 14:03, 2026-05-02. Without an offset: local time.
Result<Timestamp> parse_time(const std::string& text, const Timestamp& now);

Timestamp time_now();

// Local time. short_time: "2026-05-02 14:03:12"; exact_time: RFC 3339 with milliseconds and offset.
// "-" for a time that was never set.
std::string short_time(const Timestamp& time);
std::string exact_time(const Timestamp& time);

std::string duration_text(uint64_t milliseconds);            // "<1ms", "85ms", "1.23s", "2m05s", "1h02m", "3d04h"
std::string size_text(uint64_t bytes);                       // "812 B", "3.4 KiB", "1.2 GiB"

}  // namespace infertrail::cli
