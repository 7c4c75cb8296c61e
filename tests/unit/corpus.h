// Reads tests/corpus/*/*.txt (format: tests/corpus/README.md) and replays what a file says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "infertrail/record.pb.h"
#include "protocol/exchange.h"
#include "stream/chunk.h"

namespace infertrail::corpus {

struct Piece {
  Direction direction = Direction::kToServer;
  std::string bytes;
};

struct Expected {
  std::string text;  // text proto of a Record; only the fields written in it are compared
  int line = 0;
};

struct Transcript {
  std::string path, protocol;
  std::vector<Piece> pieces;
  std::vector<Expected> records;
  ConversationLimits limits;
  bool reset = false;
};

// All transcripts of a folder below tests/corpus, by name. Aborts with the place on a bad file: a
// corpus that cannot be read must not pass.
std::vector<Transcript> load(const std::string& folder);

// One step of a replay: bytes, or their loss. The time is that of the piece they belong to.
struct Step {
  Direction direction = Direction::kToServer;
  uint64_t offset = 0;
  uint64_t time_ns = 0;
  std::string bytes;
  bool lost = false;
};
std::vector<Step> steps_of(const Transcript& transcript);

inline constexpr uint64_t kTime0 = 1'800'000'000'000'000'000;
inline constexpr uint64_t kTimeStep = 1'000'000;

// Runs the steps through Conversation, fill_record and describe.
std::vector<Record> replay(const Transcript& transcript, const std::vector<Step>& steps);
// The same through stream/Connection; the steps may repeat, overlap and come in any order.
std::vector<Record> replay_segments(const Transcript& transcript, const std::vector<Step>& steps);

// "" when each field written in `expected` is so in `record`, else the first difference.
std::string difference(const Expected& expected, const Record& record);

}  // namespace infertrail::corpus
