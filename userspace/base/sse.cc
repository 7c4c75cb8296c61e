#include "base/sse.h"

namespace infertrail::sse {
namespace {

struct Line {
  size_t begin = 0, end = 0;  // without its line end
  size_t next = 0;            // where the next line starts
};

Line line_at(std::string_view body, size_t begin) {
  size_t end = body.find_first_of("\r\n", begin);
  if (end == std::string_view::npos) return {begin, body.size(), body.size()};
  bool crlf = body[end] == '\r' && end + 1 < body.size() && body[end + 1] == '\n';
  return {begin, end, end + (crlf ? 2 : 1)};
}

void read_field(std::string_view body, const Line& line, Event* event) {
  std::string_view text = body.substr(line.begin, line.end - line.begin);
  size_t colon = text.find(':');
  std::string_view field = text.substr(0, colon);
  size_t value = line.end;
  if (colon != std::string_view::npos) {
    value = line.begin + colon + 1;
    if (value < line.end && body[value] == ' ') value++;
  }
  if (field == "data") event->data.push_back({value, line.end});
  if (field == "event") event->name = body.substr(value, line.end - value);
}

}  // namespace

std::vector<Event> scan(std::string_view body) {
  static constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  std::vector<Event> events;
  Event event;
  bool started = false;
  size_t at = body.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  while (at < body.size()) {
    Line line = line_at(body, at);
    bool blank = line.begin == line.end;
    if (!started && !blank) {
      event = Event{};
      event.begin = line.begin;
      started = true;
    }
    if (!blank) read_field(body, line, &event);
    event.end = line.next;
    event.complete = blank;
    if (blank && started) {
      if (!event.data.empty()) events.push_back(std::move(event));
      started = false;
    }
    at = line.next;
  }
  if (started && !event.data.empty()) events.push_back(std::move(event));
  return events;
}

std::string joined(std::string_view body, const Event& event) {
  std::string out;
  for (size_t i = 0; i < event.data.size(); i++) {
    if (i > 0) out.push_back('\n');
    out.append(body.substr(event.data[i].begin, event.data[i].end - event.data[i].begin));
  }
  return out;
}

}  // namespace infertrail::sse
