#include "protocol/to_record.h"

#include <algorithm>
#include <string>

#include "base/utf8.h"

namespace infertrail {
namespace {

void set_time(uint64_t time_ns, google::protobuf::Timestamp* to) {
  to->set_seconds(static_cast<int64_t>(time_ns / 1'000'000'000));
  to->set_nanos(static_cast<int32_t>(time_ns % 1'000'000'000));
}

void set_times(const Exchange& exchange, Record* record) {
  uint64_t begin = exchange.request_first_ns;
  if (begin == 0 || (exchange.undecoded && exchange.response_first_ns != 0))
    begin = begin == 0 ? exchange.response_first_ns : std::min(begin, exchange.response_first_ns);
  uint64_t end = std::max(exchange.request_last_ns, exchange.response_last_ns);
  if (begin == 0)  // only a gap
    for (const ExchangeGap& gap : exchange.gaps) begin = end = std::max(begin, gap.gap.time_ns);
  set_time(begin, record->mutable_time());
  set_time(end, record->mutable_end_time());
  record->set_duration_ms(end > begin ? (end - begin) / 1'000'000 : 0);
  if (exchange.request_first_ns != 0 && exchange.response_first_ns > exchange.request_first_ns)
    record->set_first_byte_ms((exchange.response_first_ns - exchange.request_first_ns) / 1'000'000);
}

void add_headers(const std::vector<HeaderField>& from,
                 google::protobuf::RepeatedPtrField<Header>* to) {
  for (const HeaderField& field : from) {
    Header* header = to->Add();
    header->set_name(to_utf8(field.name));
    header->set_value(to_utf8(field.value));
  }
}

std::string hex(const std::array<uint8_t, 32>& bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (uint8_t byte : bytes) out += {kHex[byte >> 4], kHex[byte & 15]};
  return out;
}

void fill_body(const MessageBody& from, const std::vector<HeaderField>& headers, bool digests,
               Body* to) {
  to->set_bytes(from.bytes);
  if (digests && from.has_sha256) to->set_sha256(hex(from.sha256));
  std::string_view text = from.text();
  if (is_utf8(text))
    to->set_body(std::string(text));
  else
    to->set_body_binary(std::string(text));
  if (const std::string* type = find_header(headers, "content-type"))
    to->set_content_type(to_utf8(*type));
  if (const std::string* encoding = find_header(headers, "content-encoding"))
    to->set_content_encoding(to_utf8(*encoding));
  to->set_truncated(from.truncated);
}

}  // namespace

void fill_record(const Exchange& exchange, bool digests, Record* record) {
  set_times(exchange, record);
  record->set_kind(exchange.undecoded ? "undecoded" : "exchange");
  record->set_complete(exchange.complete);
  for (const ExchangeGap& from : exchange.gaps) {
    const StreamGap& gap = from.gap;
    auto* to = record->add_gaps();
    to->set_direction(gap.direction == Direction::kToServer ? "request" : "response");
    to->set_from(gap.from);
    to->set_to(gap.to);
    to->set_reason(gap_reason_name(gap.reason));
    to->set_note(from.note);
  }
  record->mutable_flow()->set_exchange_number(exchange.number);
  if (!exchange.undecoded) {
    Http* http = record->mutable_http();
    http->set_method(to_utf8(exchange.method));
    http->set_path(to_utf8(exchange.target));
    http->set_status(exchange.status);
    http->set_version(exchange.version);
    add_headers(exchange.request_headers, http->mutable_request_headers());
    add_headers(exchange.response_headers, http->mutable_response_headers());
  }
  fill_body(exchange.request, exchange.request_headers, digests, record->mutable_request());
  fill_body(exchange.response, exchange.response_headers, digests, record->mutable_response());
  for (const std::string& note : exchange.notes) {
    std::string* to = record->mutable_inference()->mutable_note();
    if (!to->empty()) *to += "; ";
    *to += note;
  }
}

}  // namespace infertrail
