// The path of an exchange to the trail, in one place. It only calls; it decides nothing.
// One per worker thread (the masker belongs to it).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "base/result.h"
#include "daemon/message.h"
#include "identity/credential.h"
#include "mask/masker.h"
#include "protocol/exchange.h"
#include "trail/writer.h"

namespace infertrail {

struct PipelineCounts {
  std::atomic<uint64_t> exchanges{0}, undecoded{0}, refused{0};
};

class Pipeline {
 public:
  Pipeline(Masker masker, const Credentials& credentials, trail::TrailWriter& trail, PipelineCounts& counts,
           bool plaintext_digests)
      : masker_(std::move(masker)), credentials_(credentials), trail_(trail), counts_(counts),
        plaintext_digests_(plaintext_digests) {}

  // `durable`: called on the trail's thread once the record cannot be lost any more, or here when the
  // trail refused it for good (counted).
  void record(const Exchange& exchange, const StreamFacts& facts, StreamId stream,
              std::function<void()> durable = nullptr);
  // Records that are not traffic: start, stop, targets.
  void record(Record record, std::function<void()> durable = nullptr);

 private:
  Masker masker_;
  const Credentials& credentials_;
  trail::TrailWriter& trail_;
  PipelineCounts& counts_;
  const bool plaintext_digests_;
};

}  // namespace infertrail
