#include <algorithm>
#include <string_view>

#include "base/result.h"
#include "base/utf8.h"
#include "dialect/dialect.h"
#include "fuzz/entries.h"
#include "protocol/conversation.h"
#include "protocol/to_record.h"
#include "stream/connection.h"

namespace infertrail {
namespace {

void check(const Exchange& exchange) {
  Record record, again;
  fill_record(exchange, true, &record);
  describe(exchange, &record);
  IT_CHECK(again.ParseFromString(record.SerializeAsString()));  // valid UTF-8 everywhere
  IT_CHECK(exchange.complete == false || exchange.gaps.empty());
  IT_CHECK(record.complete() == false || exchange.complete);
  for (const ExchangeGap& gap : exchange.gaps) IT_CHECK(gap.gap.from <= gap.gap.to);
}

}  // namespace

int fuzz_http1(const uint8_t* data, size_t size) {
  Conversation conversation({.max_body_bytes = 4096, .digests = size % 2 == 0});
  Connection connection(conversation, {.held_bytes = 2048, .hole_timeout_ns = 50});
  uint64_t offsets[2] = {0, 0}, now = 1;
  uint64_t fed = 0;
  for (size_t at = 0; at + 2 <= size; now++) {
    uint8_t control = data[at], length = data[at + 1];
    at += 2;
    Direction direction = control & 1 ? Direction::kToClient : Direction::kToServer;
    uint64_t& offset = offsets[control & 1];
    size_t take = std::min<size_t>(length, size - at);
    std::string_view bytes(reinterpret_cast<const char*>(data) + at, take);
    int what = control >> 1 & 7;
    if (what == 1) {
      offset += length;  // a hole nobody declares
    } else if (what == 2) {
      connection.missing(direction, offset, offset + length, GapReason::kRingFull, now);
      offset += length;
    } else {
      if (what == 3) offset -= std::min<uint64_t>(offset, length);
      connection.add({direction, offset, now, bytes});
      offset += take;
      fed += take;
      at += take;
    }
    if (control & 0x40) connection.tick(now);
    if (control == 0xff) conversation.give_up(now);
  }
  connection.close(now);
  conversation.finish(size % 3 == 0, now);
  uint64_t seen = 0;
  for (const Exchange& exchange : conversation.take()) {
    check(exchange);
    seen += exchange.request.bytes + exchange.response.bytes;
  }
  IT_CHECK(seen <= fed);
  IT_CHECK(conversation.take().empty());
  return 0;
}

}  // namespace infertrail

#ifdef INFERTRAIL_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return infertrail::fuzz_http1(data, size);
}
#endif
