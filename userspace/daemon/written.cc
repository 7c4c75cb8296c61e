#include "daemon/written.h"

#include "trail/reader.h"

namespace infertrail {

Result<WrittenExchanges> written_since(const std::string& trail_dir, uint64_t mark) {
  WrittenExchanges out;
  TRY(auto reader, trail::Reader::open(trail_dir));
  TRY(const uint64_t size, reader->size());
  for (uint64_t index = mark; index < size; index++) {
    TRY(const Record record, reader->read(index));
    const Flow& flow = record.flow();
    if (flow.exchange_number() > 0) out.emplace(flow.tls(), flow.stream(), flow.exchange_number());
  }
  return out;
}

}  // namespace infertrail
