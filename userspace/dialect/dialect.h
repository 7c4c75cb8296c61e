// A dialect reads the facts of an inference call out of an exchange. It only adds fields: what no
// dialect understands stays in the record as it is, with dialect "unknown".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "infertrail/record.pb.h"
#include "protocol/exchange.h"

namespace infertrail {

// Fills record->inference from the exchange (call it after fill_record). Sets record->complete to
// false when the dialect shows that the answer stopped early; never to true. Bodies are hostile:
// any key order, null, wrong types; what could not be read is said in inference.note, without
// payload.
void describe(const Exchange& exchange, Record* record);

struct Dialect {
  const char* name;
  bool (*fits)(const Exchange& exchange, std::string_view path);
  void (*describe)(const Exchange& exchange, std::string_view path, Record* record);
};
const std::vector<Dialect>& dialects();

// The path of a request target for matching: without scheme, host and query, percent-decoded,
// "//", "." and ".." resolved. "/" at least.
std::string normal_path(std::string_view target);

// Which server software this is, or "unknown". `dialects.md` has the reasons.
std::string recognise_server(const Exchange& exchange, std::string_view path);

// Adds a sentence to inference.note.
void add_note(std::string_view note, Inference* inference);

}  // namespace infertrail
