#include <algorithm>
#include <string>

#include "base/result.h"
#include "dialect/dialect.h"
#include "fuzz/entries.h"
#include "protocol/content_coding.h"
#include "protocol/to_record.h"

namespace infertrail {

int fuzz_dialect(const uint8_t* data, size_t size) {
  static constexpr const char* kTargets[] = {"/v1/chat/completions", "/v1/completions",
                                             "/v1/embeddings", "/v1/models"};
  static constexpr const char* kCodings[] = {"gzip", "deflate", "zstd", "br", "br, gzip", ""};
  if (size == 0) return 0;
  uint8_t kind = data[0];
  std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t split = std::min(text.find('\0'), text.size());
  Exchange exchange;
  exchange.has_request = (kind & 0x80) == 0;
  exchange.has_response = exchange.complete = true;
  exchange.method = "POST";
  exchange.target = kind & 0x40 ? text.substr(0, 64) : kTargets[kind & 3];
  exchange.status = kind & 8 ? 500 : 200;
  exchange.request.raw = text.substr(0, split);
  exchange.response.raw = text.substr(std::min(split + 1, text.size()));
  if (kind & 4) exchange.response_headers.push_back({"Content-Type", "text/event-stream"});
  Record record, again;
  fill_record(exchange, true, &record);
  describe(exchange, &record);
  IT_CHECK(again.ParseFromString(record.SerializeAsString()));
  IT_CHECK(record.inference().dialect() == "openai" || record.inference().dialect() == "unknown");
  std::string path = normal_path(text);
  IT_CHECK(path.front() == '/' && path.find("//") == std::string::npos);
  Decoded decoded = decode_content(kCodings[kind % 6], text, 10'000);
  IT_CHECK(decoded.bytes.size() <= 10'000);
  return 0;
}

}  // namespace infertrail

#ifdef INFERTRAIL_LIBFUZZER
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return infertrail::fuzz_dialect(data, size);
}
#endif
