#include "daemon/pipeline.h"

#include <spdlog/spdlog.h>

#include "dialect/dialect.h"
#include "protocol/to_record.h"

namespace infertrail {

void Pipeline::record(const Exchange& exchange, const StreamFacts& facts, StreamId stream,
                      std::function<void()> durable) {
  Record record;
  fill_record(exchange, plaintext_digests_, &record);   // protocol: what was said, byte for byte
  describe(exchange, &record);                          // dialect: what it means
  const uint32_t number = record.flow().exchange_number();
  *record.mutable_flow() = facts.flow;                  // capture: which connection
  record.mutable_flow()->set_exchange_number(number);
  record.mutable_flow()->set_stream(stream.id);
  *record.mutable_process() = facts.process;            // identity: who
  *record.mutable_peer() = facts.peer;
  credentials_.identify(&record);
  record.mutable_verdict()->set_action("allow");        // policy: nothing is enforced yet
  (exchange.undecoded ? counts_.undecoded : counts_.exchanges)++;
  this->record(std::move(record), std::move(durable));
}

void Pipeline::record(Record record, std::function<void()> durable) {
  masker_.mask(&record);   // before this line payload is in memory only
  if (auto status = trail_.append(std::move(record), durable); !status.ok()) {
    counts_.refused++;
    spdlog::error("trail=refused error=\"{}\"", status.error().message);
    if (durable) durable();   // it will not be taken the next time either
  }
}

}  // namespace infertrail
