#include "protocol/http1_head.h"

#include <algorithm>
#include <string>
#include <utility>

namespace infertrail {
namespace {

bool is_token(std::string_view text) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Takes the next line off the front, without its line end.
std::string_view take_line(std::string_view* text) {
  size_t end = std::min(text->find('\n'), text->size());
  std::string_view line = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

Error malformed(const std::string& what) {
  return Error{Code::kInvalid, what};
}

// "HTTP/1.1" -> "1.1"; other major versions are other protocols.
std::optional<std::string> version(std::string_view text) {
  if (text.size() != 8 || text.substr(0, 7) != "HTTP/1." || text[7] < '0' || text[7] > '9')
    return std::nullopt;
  return std::string(text.substr(5));
}

Status parse_request_line(std::string_view line, Head* head) {
  size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return malformed("request line without three parts");
  auto number = version(line.substr(last + 1));
  std::string_view target = line.substr(first + 1, last - first - 1);
  if (!number) return malformed("request line without HTTP/1 version");
  if (!is_token(line.substr(0, first))) return malformed("method is not a token");
  if (target.find_first_of(std::string_view(" \t\r\0", 4)) != std::string_view::npos)
    head->notes.push_back("blank or control character in the request target");
  head->method = line.substr(0, first);
  head->target = target;
  head->version = *number;
  return {};
}

Status parse_status_line(std::string_view line, Head* head) {
  auto number = version(line.substr(0, 8));
  if (!number || line.size() < 12 || line[8] != ' ') return malformed("not a status line");
  uint32_t status = 0;
  for (char c : line.substr(9, 3)) {
    if (c < '0' || c > '9') return malformed("status is not a number");
    status = status * 10 + static_cast<uint32_t>(c - '0');
  }
  if (status < 100 || (line.size() > 12 && line[12] != ' ')) return malformed("bad status");
  head->status = status;
  head->reason = line.size() > 13 ? line.substr(13) : std::string_view();
  head->version = *number;
  return {};
}

// The items of all fields of that name, split at commas.
std::vector<std::string_view> list_of(const Head& head, std::string_view name) {
  std::vector<std::string_view> items;
  for (const HeaderField& field : head.headers) {
    if (!same_name(field.name, name)) continue;
    std::string_view rest = field.value;
    while (true) {
      size_t comma = std::min(rest.find(','), rest.size());
      items.push_back(trim(rest.substr(0, comma)));
      if (comma == rest.size()) break;
      rest.remove_prefix(comma + 1);
    }
  }
  return items;
}

std::optional<uint64_t> decimal(std::string_view text) {
  if (text.empty() || text.size() > 18) return std::nullopt;
  uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

Result<BodyFraming> framing_by_length(Head* head, const std::vector<std::string_view>& lengths) {
  auto first = decimal(lengths.front());
  if (!first) return malformed("Content-Length is not a number");
  for (std::string_view other : lengths)
    if (decimal(other) != first) return malformed("Content-Length fields contradict each other");
  if (lengths.size() > 1) head->notes.push_back("Content-Length given more than once, all equal");
  if (*first == 0) return BodyFraming{};
  return BodyFraming{Framing::kLength, *first};
}

}  // namespace

Result<std::vector<HeaderField>> parse_http1_fields(std::string_view text,
                                                    std::vector<std::string>* notes) {
  std::vector<HeaderField> fields;
  while (!text.empty()) {
    std::string_view line = take_line(&text);
    if (line.empty()) break;
    std::string number = std::to_string(fields.size() + 1);
    if (line.find('\0') != std::string_view::npos) return malformed("NUL in header " + number);
    if (is_blank(line.front())) {
      if (fields.empty()) return malformed("a folded line before the first header");
      fields.back().value += ' ';
      fields.back().value += trim(line);
      continue;
    }
    size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
      return malformed("header " + number + " has no proper name");
    if (line.find('\r') != std::string_view::npos) notes->push_back("CR inside header " + number);
    fields.push_back(
        {std::string(line.substr(0, colon)), std::string(trim(line.substr(colon + 1)))});
  }
  return fields;
}

Result<Head> parse_http1_head(std::string_view text, bool request) {
  Head head;
  std::string_view start = take_line(&text);
  TRY_STATUS(request ? parse_request_line(start, &head) : parse_status_line(start, &head));
  TRY(head.headers, parse_http1_fields(text, &head.notes));
  return head;
}

Result<BodyFraming> body_framing(Head* head, bool request, std::string_view answer_to_method) {
  bool no_body = !request && (answer_to_method == "HEAD" || head->status / 100 == 1 ||
                              head->status == 204 || head->status == 304);
  if (no_body) return BodyFraming{};
  auto codings = list_of(*head, "transfer-encoding");
  auto lengths = list_of(*head, "content-length");
  if (!codings.empty()) {
    if (!lengths.empty())
      head->notes.push_back("Content-Length beside Transfer-Encoding: ignored (RFC 9112 6.3)");
    if (head->version == "1.0") head->notes.push_back("Transfer-Encoding in HTTP/1.0");
    if (codings.size() > 1) head->notes.push_back("transfer codings under chunked are not decoded");
    if (same_name(codings.back(), "chunked")) return BodyFraming{Framing::kChunked, 0};
    if (request) return malformed("Transfer-Encoding of a request does not end in chunked");
    return BodyFraming{Framing::kUntilClose, 0};
  }
  if (!lengths.empty()) return framing_by_length(head, lengths);
  return BodyFraming{request ? Framing::kNone : Framing::kUntilClose, 0};
}

std::optional<uint64_t> parse_chunk_size(std::string_view line) {
  uint64_t size = 0;
  size_t digits = 0;
  for (; digits < line.size(); digits++) {
    char c = line[digits];
    int value = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (value < 0) break;
    if (size >> 58 != 0) return std::nullopt;
    size = size << 4 | static_cast<uint64_t>(value);
  }
  std::string_view rest = trim(line.substr(digits));
  if (digits == 0 || (!rest.empty() && rest.front() != ';')) return std::nullopt;
  return size;
}

}  // namespace infertrail
