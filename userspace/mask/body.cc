#include "mask/body.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/sse.h"
#include "mask/streams.h"
#include "mask/texts.h"

namespace infertrail {
namespace {

void add_plain(std::string_view body, size_t raw, bool form, bool truncated, Batch* batch) {
  View view = View::borrowed(body, raw);
  add_text(view, kMaxJsonInside, truncated, batch);
  if (form) batch->add(percent_decoded(view, true), Batch::Kind::kText, truncated);
}

// What stands between the data of events: comments, names, ids.
void add_between(std::string_view body, size_t begin, size_t end, Batch* batch) {
  std::string_view text = trim(body.substr(begin, end - begin));
  if (text.empty() || text == "data:" || text == "data") return;
  add_plain(body.substr(begin, end - begin), begin, false, false, batch);
}

void add_sse(std::string_view body, bool truncated, Batch* batch) {
  Streams streams(truncated, batch);
  size_t done = 0;
  for (const sse::Event& event : sse::scan(body)) {
    View data;
    for (size_t i = 0; i < event.data.size(); i++) {
      const sse::DataLine& line = event.data[i];
      add_between(body, done, line.begin, batch);
      done = line.end;
      if (i > 0) data.append_nowhere("\n");
      data.append(body.substr(line.begin, line.end - line.begin), line.begin);
    }
    streams.add(data);
  }
  add_between(body, done, body.size(), batch);
  streams.finish();
}

void add_lines(std::string_view body, bool truncated, Batch* batch) {
  Streams streams(truncated, batch);
  for (size_t at = 0; at < body.size();) {
    size_t end = std::min(body.find('\n', at), body.size());
    if (!trim(body.substr(at, end - at)).empty())
      streams.add(View::borrowed(body.substr(at, end - at), at));
    at = end + 1;
  }
  streams.finish();
}

bool looks_like_lines(std::string_view body, std::string_view content_type) {
  if (contains_ignore_case(content_type, "ndjson") || contains_ignore_case(content_type, "jsonl"))
    return true;
  size_t end = body.find('\n');
  return end != std::string_view::npos && !trim(body.substr(end)).empty() &&
         json::Document::parse(body.substr(0, end)).ok();
}

bool looks_like_sse(std::string_view body, std::string_view content_type) {
  if (contains_ignore_case(content_type, "text/event-stream")) return true;
  for (std::string_view start : {"data:", "event:", "id:", "retry:", ":"})
    if (body.starts_with(start)) return true;
  return false;
}

}  // namespace

void add_body(std::string_view body, std::string_view content_type, bool truncated, Batch* batch) {
  std::string_view start = trim(body);
  if (!start.empty() && std::string_view("{[\"").find(start[0]) != std::string_view::npos) {
    auto document = json::Document::parse(body);
    if (document.ok()) return add_document(document.value(), View::borrowed(body, 0), 0, batch);
    if (looks_like_lines(body, content_type)) return add_lines(body, truncated, batch);
  }
  if (looks_like_sse(start, content_type)) return add_sse(body, truncated, batch);
  bool form = contains_ignore_case(content_type, "x-www-form-urlencoded");
  add_plain(body, 0, form, truncated, batch);
}

}  // namespace infertrail
