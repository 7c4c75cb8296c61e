#include <string>
#include <string_view>

#include "base/json.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "mask/masker.h"

namespace infertrail::fuzz {

// Whatever a body is: no crash; JSON stays JSON, UTF-8 stays UTF-8; the first byte chooses how it
// is labelled.
void mask(const uint8_t* data, size_t size) {
  static constexpr const char* kTypes[] = {"application/json", "text/event-stream",
                                           "application/x-ndjson",
                                           "application/x-www-form-urlencoded", "text/plain"};
  static Result<Masker> masker = Masker::make({});
  IT_CHECK(masker.ok());
  if (size == 0) return;
  std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  Record record;
  record.mutable_response()->set_content_type(kTypes[data[0] % 5]);
  record.mutable_response()->set_truncated((data[0] & 0x40) != 0);
  bool utf8 = is_utf8(text);
  *(utf8 ? record.mutable_response()->mutable_body()
         : record.mutable_response()->mutable_body_binary()) = text;
  if (utf8) {
    record.mutable_http()->set_path(text);
    record.mutable_process()->set_cmdline(text);
    record.mutable_inference()->set_output_text(text);
  }
  masker.value().mask(&record);
  const std::string& out = utf8 ? record.response().body() : record.response().body_binary();
  if (json::Document::parse(text).ok()) IT_CHECK(json::Document::parse(out).ok());
  if (utf8) {
    IT_CHECK(is_utf8(out) && is_utf8(record.http().path()) &&
             is_utf8(record.process().cmdline()) &&
             is_utf8(record.inference().output_text()));
  }
}

}  // namespace infertrail::fuzz

IT_FUZZ_ENTRY(mask)
