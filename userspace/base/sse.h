// Server-sent events (WHATWG HTML 9.2) as byte spans over a whole body: used by the dialects to
// read events and by the masker to edit them where they stand.
// Ownership: events borrow the body. CR, LF and CRLF end a line; "data:" with or without a space.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace infertrail::sse {

struct DataLine {
  size_t begin = 0, end = 0;   // the bytes after "data:" and one optional space, without line end
};

struct Event {
  std::string_view name;            // after "event:", or empty
  std::vector<DataLine> data;       // in order; joined by '\n' they are the event's data
  size_t begin = 0, end = 0;        // whole event with its line ends
  bool complete = false;            // ended by a blank line
};

// Comments and pings (no data line) are left out. The last event may be incomplete.
std::vector<Event> scan(std::string_view body);

// The event's data lines joined by '\n'.
std::string joined(std::string_view body, const Event& event);

}  // namespace infertrail::sse
