// An exchange as the trail's record, before identity, policy and masking.
#pragma once

#include "infertrail/record.pb.h"
#include "protocol/exchange.h"

namespace infertrail {

// Fills time, end_time, duration_ms, first_byte_ms, kind ("exchange" or "undecoded"), complete,
// gaps, http, request, response, flow.exchange_number and (with the exchange's notes)
// inference.note. Text that is not UTF-8 is escaped (base/utf8.h); bodies that are not go to
// body_binary. Contains clear payload: mask before it is stored. Call before describe().
void fill_record(const Exchange& exchange, bool digests, Record* record);

}  // namespace infertrail
