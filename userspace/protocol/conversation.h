// Everything one connection says, cut into exchanges. Bytes in order come in (stream/connection.h),
// finished exchanges go out. Which protocol it is shows in the first bytes, never in a port.
//
// Nothing is dropped: what no parser reads comes out as undecoded exchanges with its bytes.
// A connection that is older than the capture begins in the middle of something: its bytes are
// undecoded (reason pre_attach) until a message begins where the direction turns. Nothing else proves
// a beginning; a line inside a body that looks like one does not. If an answer is the first that is seen, its
// request may still come: a write is told when it has returned, and its answer may be read before. So the first
// answer waits for the next request, and the times decide whose it is (Chunk::time_ns: when a write was begun).
// Limits: up to 64 KiB are held until the protocol is known; kMaxOpen requests may be unanswered.
// Bounding the memory of many connections is the caller's: memory_bytes() and give_up().
// Thread: belongs to one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "protocol/exchange.h"
#include "protocol/parser.h"
#include "stream/chunk.h"

namespace infertrail {

class Conversation : public StreamSink {
 public:
  explicit Conversation(ConversationLimits limits) : stitcher_(limits) {}

  // The connection is older than the capture; before the first data. A pre_attach gap says it too.
  void begin_in_the_middle();
  void data(const Chunk& chunk) override;
  void gap(const StreamGap& gap) override;
  // The connection is over: whatever is open becomes an incomplete exchange with its gap. A body
  // that ends with the connection is whole unless `reset`.
  void finish(bool reset, uint64_t time_ns);
  // To free memory: whatever is open becomes an incomplete exchange (reason memory_limit), what
  // still comes is recorded undecoded. May be called at any time.
  void give_up(uint64_t time_ns);
  // Nothing from before `until_ns` is missing any more: a first answer waits no longer for its request.
  void settle(uint64_t until_ns);
  // Finished exchanges in the order in which they ended, moved out.
  std::vector<Exchange> take() { return stitcher_.take(); }
  // Valid when everything finished was taken and is kept for good by the time it is used.
  std::optional<ResumePoint> resume_point() const;
  // Instead of the beginning, before anything else: goes on where another one stood.
  void resume(const ResumePoint& point);
  size_t memory_bytes() const;
  // The protocol's name; "" while it is not known, "undecoded" when no parser fits.
  const char* protocol() const { return name_; }

 private:
  struct Held {
    Chunk chunk;
    std::string bytes;
    std::optional<StreamGap> gap;
  };
  struct Beginning {
    std::string first;  // first bytes, as many as detection may need
    bool lost = false;  // the true beginning was not seen
    bool any = false;
  };
  static constexpr size_t kMaxHeld = 64u << 10;
  static constexpr size_t kMaxOpen = 1024;

  void look_for_beginning(const Chunk& chunk);
  void after_first_answer(const Chunk& chunk);
  void begin_with_answer();
  void leave_undecoded();
  void detect(bool last);
  void choose(const char* name, std::unique_ptr<Parser> parser);

  Stitcher stitcher_;
  std::unique_ptr<Parser> parser_;
  const char* name_ = "";
  std::deque<Held> held_;
  size_t held_bytes_ = 0;
  std::array<Beginning, 2> beginnings_;
  // While the connection's first beginning is looked for, `held_` is what may be one.
  bool middle_ = false;
  // `held_` begins with an answer, in this protocol, and nothing was before it.
  const Protocol* first_answer_ = nullptr;
  std::optional<Direction> last_;   // of the last bytes that were not a beginning
};

}  // namespace infertrail
