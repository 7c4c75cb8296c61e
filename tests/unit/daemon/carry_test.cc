// The carry alone: a kill at every byte, room, what is given up, what another daemon finds.
#include "daemon/carry.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace infertrail {
namespace {

constexpr size_t kSegment = 4096;
constexpr StreamId kFlow{11, false};
constexpr StreamId kObject{7, true};

CarryOptions options() { return {"boot-1", 42, kSegment}; }

// Memory that outlives a Carry, as the map outlives the daemon.
struct Memory {
  explicit Memory(size_t segments) : words((carry::kHeaderBytes + segments * kSegment) / 8) {}
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(words)); }
  std::vector<uint64_t> words;
};

// What a daemon that starts now would get, one line a record.
std::vector<std::string> left(Memory memory, CarryFound* found = nullptr) {   // a copy: nothing is changed
  Carry carry(memory.bytes(), options());
  if (found) *found = carry.found();
  std::vector<std::string> out;
  auto name = [](StreamId id) { return (id.tls ? "tls " : "flow ") + std::to_string(id.id); };
  CarryReplay replay;
  replay.resume = [&](StreamId id, const Resume& point) {
    out.push_back(name(id) + " resume " + std::to_string(point.from[0]) + "," + std::to_string(point.from[1]) + " after " +
                  std::to_string(point.count) + " " + point.protocol);
  };
  replay.evicted = [&](StreamId id, uint8_t side, uint64_t from, uint64_t to) {
    out.push_back(name(id) + " evicted " + std::to_string(side) + " " + std::to_string(from) + "-" + std::to_string(to));
  };
  replay.identity = [&](StreamId id, const Process& process, const Process& peer) {
    out.push_back(name(id) + " is " + process.exe() + " of " + peer.exe());
  };
  replay.control = [&](std::string_view record) { out.push_back("control " + std::string(record)); };
  replay.data = [&](std::string_view record) { out.push_back("data " + std::string(record)); };
  replay.loss = [&](std::string_view record) { out.push_back("loss " + std::string(record)); };
  replay.ended = [&](StreamId id) { out.push_back(name(id) + " ended"); };
  replay.loose = [&](uint64_t, std::string_view record) { out.push_back("loose " + std::string(record)); };
  carry.replay(replay);
  return out;
}

using Lines = std::vector<std::string>;

Resume at(uint64_t in, uint64_t out, uint32_t count) { return {{in, out}, count, 0, IT_ROLE_SERVER, "http1"}; }

TEST(Carry, WithoutMemoryItKeepsNothingAndBreaksNothing) {
  Carry carry;
  carry.control(kFlow, "open");
  carry.data(kFlow, IT_IN, 0, "h", "x");
  carry.release(carry.loose("x"));
  carry.durable(kFlow, carry.handed(kFlow, std::nullopt));
  carry.closed(kFlow);
  carry.mark(1);
  EXPECT_FALSE(carry.enabled());
  EXPECT_EQ(0u, carry.counts().capacity);
  Memory small(2);
  EXPECT_FALSE(Carry(small.bytes(), options()).enabled());
}

TEST(Carry, WhatIsNotDurableIsFoundAgainInOrder) {
  Memory memory(8);
  {
    Carry carry(memory.bytes(), options());
    EXPECT_FALSE(carry.found().adopted);
    EXPECT_EQ("", carry.found().fresh) << "empty memory is nothing to speak of";
    Process process, peer;
    process.set_exe("/bin/server");
    peer.set_exe("/bin/client");
    carry.identity(kFlow, process, peer);
    carry.control(kFlow, "open");
    carry.data(kFlow, IT_IN, 0, "h1:", "GET /");
    carry.data(kObject, IT_OUT, 5, "h2:", "answer");
    carry.loose("orphan:", "bytes");
    carry.control({99, false}, "close", true);   // of a stream that nobody knows
    carry.ended(kObject);
  }
  CarryFound found;
  EXPECT_EQ((Lines{"flow 11 is /bin/server of /bin/client", "control open", "data h1:GET /", "data h2:answer",
                   "loose orphan:bytes", "tls 7 ended"}),
            left(memory, &found));
  EXPECT_TRUE(found.adopted);
  EXPECT_EQ(2u, found.streams);
}

TEST(Carry, WhatIsDurableIsGone) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  carry.control(kFlow, "open");
  carry.data(kFlow, IT_IN, 0, "", "request-1|");
  carry.data(kFlow, IT_OUT, 0, "", "answer-1|");
  carry.data(kFlow, IT_IN, 10, "", "request-2|");
  const uint64_t one = carry.handed(kFlow, std::nullopt);
  const uint64_t two = carry.handed(kFlow, at(20, 18, 2));
  carry.durable(kFlow, two);
  EXPECT_EQ(4u, left(memory).size()) << "the one before is not durable yet";
  carry.durable(kFlow, one);
  EXPECT_EQ((Lines{"flow 11 resume 20,18 after 2 http1", "control open"}), left(memory));
  carry.data(kFlow, IT_OUT, 9, "", "answer-2|");   // comes late, or twice
  EXPECT_EQ(2u, left(memory).size());
  const uint64_t three = carry.handed(kFlow, std::nullopt);
  carry.closed(kFlow);
  EXPECT_EQ(2u, left(memory).size()) << "closed, but not everything is durable";
  carry.durable(kFlow, three);
  EXPECT_EQ(Lines{}, left(memory));
  EXPECT_EQ(0u, carry.counts().live);
}

TEST(Carry, WithoutAPlaceToGoOnItIsCountedWhatIsDurable) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  std::vector<uint64_t> done;
  auto look = [&] {
    Memory copy = memory;
    done.clear();
    Carry next(copy.bytes(), options());
    CarryReplay replay;
    replay.data = [](std::string_view) {};
    replay.resume = [&](StreamId, const Resume& point) { done = {point.from[0], point.count, point.done}; };
    next.replay(replay);
    return done;
  };
  carry.data(kFlow, IT_IN, 0, "", "0123456789");
  const uint64_t one = carry.handed(kFlow, std::nullopt), two = carry.handed(kFlow, std::nullopt);
  EXPECT_EQ((std::vector<uint64_t>{}), look());
  carry.durable(kFlow, one);
  EXPECT_EQ((std::vector<uint64_t>{0, 0, 1}), look());
  carry.durable(kFlow, two);
  EXPECT_EQ((std::vector<uint64_t>{0, 0, 2}), look());
  carry.durable(kFlow, carry.handed(kFlow, at(4, 0, 3)));
  EXPECT_EQ((std::vector<uint64_t>{4, 3, 0}), look());
  carry.durable(kFlow, carry.handed(kFlow, std::nullopt));
  EXPECT_EQ((std::vector<uint64_t>{4, 3, 1}), look());
  // The next daemon ends the same one again, and then another.
  Carry next(memory.bytes(), options());
  next.durable(kFlow, next.handed(kFlow, std::nullopt));
  EXPECT_EQ((std::vector<uint64_t>{4, 3, 1}), look());
  next.durable(kFlow, next.handed(kFlow, std::nullopt));
  EXPECT_EQ((std::vector<uint64_t>{4, 3, 2}), look());
}

TEST(Carry, APointInTheMiddleOfARecordKeepsIt) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  carry.data(kFlow, IT_IN, 0, "", "aaaabbbb");
  carry.data(kFlow, IT_IN, 8, "", "cccc");
  carry.durable(kFlow, carry.handed(kFlow, at(4, 0, 1)));
  EXPECT_EQ((Lines{"flow 11 resume 4,0 after 1 http1", "data aaaabbbb", "data cccc"}), left(memory));
  carry.durable(kFlow, carry.handed(kFlow, at(8, 0, 2)));
  EXPECT_EQ((Lines{"flow 11 resume 8,0 after 2 http1", "data cccc"}), left(memory));
}

TEST(Carry, AFlowLivesAsLongAsTheObjectsBoundToIt) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  carry.control(kFlow, "flow");
  carry.control(kObject, "object");
  carry.link(kObject, kFlow);
  carry.closed(kFlow);
  EXPECT_EQ((Lines{"control flow", "control object"}), left(memory));
  carry.closed(kObject);
  EXPECT_EQ(Lines{}, left(memory));
  EXPECT_EQ(0u, carry.counts().streams);
}

TEST(Carry, ALooseRecordLivesUntilItIsReleasedOrItsBytesAreDurable) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  const uint64_t exit = carry.loose("exit"), orphan = carry.loose("orphan");
  carry.release(exit);
  carry.control(kFlow, "open");
  carry.own(orphan, kFlow, IT_IN, 0, 6);
  EXPECT_EQ((Lines{"loose orphan", "control open"}), left(memory));
  carry.durable(kFlow, carry.handed(kFlow, at(6, 0, 1)));
  EXPECT_EQ((Lines{"flow 11 resume 6,0 after 1 http1", "control open"}), left(memory));
}

TEST(Carry, AStreamThatBeginsAnewHasNothingOfTheOneBefore) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  carry.control(kFlow, "open");
  carry.data(kFlow, IT_IN, 0, "", "old");
  carry.closed(kFlow);
  carry.data(kFlow, IT_IN, 3, "", "late");   // same id, after its end
  EXPECT_EQ(Lines{"data late"}, left(memory));
}

TEST(Carry, WhatAnotherBootOrVersionWroteIsNotRead) {
  Memory memory(8);
  Carry(memory.bytes(), options()).control(kFlow, "open");
  auto found_after = [&](auto change, CarryOptions with) {
    Memory copy = memory;
    change(*reinterpret_cast<carry::MemoryHeader*>(copy.bytes().data()));
    Carry carry(copy.bytes(), with);
    EXPECT_EQ(Lines{}, left(copy)) << "and is gone";
    EXPECT_TRUE(carry.enabled());
    return carry.found();
  };
  CarryOptions other = options();
  other.boot_id = "boot-2";
  CarryFound found = found_after([](auto&) {}, other);
  EXPECT_EQ("of another boot", found.fresh);
  EXPECT_TRUE(found.lost) << "there was a stream in it";
  found = found_after([](auto& header) { header.abi++; }, options());
  EXPECT_EQ("damaged header", found.fresh);
  found = found_after([](auto& header) { header.layout++; }, options());
  EXPECT_EQ("layout 2", found.fresh);
  found = found_after([](auto& header) { header.magic[0] = 'x'; }, options());
  EXPECT_EQ("no header", found.fresh);
  EXPECT_TRUE(found.lost) << "nobody knows";
}

TEST(Carry, TheMarkOfAnotherTrailMeansNothingHere) {
  Memory memory(8);
  {
    Carry carry(memory.bytes(), options());
    carry.mark(17);
    carry.control(kFlow, "open");
  }
  CarryOptions other = options();
  other.trail = 43;
  EXPECT_EQ(17u, Carry(Memory(memory).bytes(), options()).found().mark);
  Carry carry(memory.bytes(), other);
  EXPECT_EQ(UINT64_MAX, carry.found().mark);
  EXPECT_EQ(1u, carry.found().streams) << "the streams go on, into this trail";
}

// A kill between any two stores: the memory holds a prefix of what was being written, and the commit
// word, which is written last, is not there.
TEST(Carry, AKillAtEveryByteOfAWriteLeavesAllThatWasBefore) {
  Memory before(8);
  { Carry(before.bytes(), options()).data(kFlow, IT_IN, 0, "head:", "first"); }
  const Lines expected = left(before);
  // A process that goes on writes behind a scan in a new segment: so both in one.
  Memory after(8);
  {
    Carry carry(after.bytes(), options());
    carry.data(kFlow, IT_IN, 0, "head:", "first");
    std::memcpy(before.words.data(), after.words.data(), after.bytes().size());
    carry.data(kFlow, IT_IN, 5, "head:", std::string(100, 'x'));
  }
  ASSERT_EQ(expected, left(before));
  ASSERT_EQ(2u, left(after).size());
  std::byte* old = before.bytes().data();
  std::byte* fresh = after.bytes().data();
  size_t first = 0, last = after.bytes().size();
  while (old[first] == fresh[first]) first++;
  while (old[last - 1] == fresh[last - 1]) last--;
  ASSERT_GT(last - first, 100u);
  ASSERT_EQ(0u, first % 8) << "the commit word stands first";
  for (size_t cut = first + 8; cut <= last; cut++) {
    Memory torn = before;
    std::memcpy(torn.bytes().data() + first + 8, fresh + first + 8, cut - first - 8);
    CarryFound found;
    ASSERT_EQ(expected, left(torn, &found)) << cut;
    ASSERT_EQ(0u, found.corrupt);
  }
  // And were the stores not in order, the CRC would say so.
  for (size_t cut = first + 8; cut < last - 8; cut += 7) {
    Memory torn = before;
    std::memcpy(torn.bytes().data() + first, fresh + first, cut - first);
    CarryFound found;
    ASSERT_EQ(expected, left(torn, &found)) << cut;
    ASSERT_EQ(1u, found.corrupt);
  }
}

TEST(Carry, AKillAtEveryByteOfProgressLeavesTheOldOrTheNew) {
  Memory before(8), after(8);
  {
    Carry carry(after.bytes(), options());
    carry.data(kFlow, IT_IN, 0, "", "1234567890");
    carry.durable(kFlow, carry.handed(kFlow, at(3, 0, 1)));
    before = after;
    carry.durable(kFlow, carry.handed(kFlow, at(7, 0, 2)));
  }
  const Lines old_lines = left(before), new_lines = left(after);
  ASSERT_NE(old_lines, new_lines);
  std::byte* old = before.bytes().data();
  std::byte* fresh = after.bytes().data();
  size_t first = 0, last = after.bytes().size();
  while (old[first] == fresh[first]) first++;
  while (old[last - 1] == fresh[last - 1]) last--;
  size_t news = 0;
  for (size_t cut = first; cut <= last; cut++) {
    Memory torn = before;
    std::memcpy(torn.bytes().data() + first, fresh + first, cut - first);
    const Lines lines = left(torn);
    ASSERT_TRUE(lines == old_lines || lines == new_lines) << cut;
    news += lines == new_lines;
  }
  EXPECT_EQ(1u, news) << "only the whole slot counts";
}

TEST(Carry, LiveRemainsAreMovedTogetherAndNothingIsLost) {
  Memory memory(10);
  Carry carry(memory.bytes(), options());
  carry.control(kObject, "kept for long");
  // Far more than the memory, each exchange durable soon; one record of each hundred stays.
  Lines kept = {"control kept for long"};
  for (uint64_t i = 0; i < 2000; i++) {
    const StreamId id{100 + i, false};
    const bool stays = i % 100 == 0;
    carry.control(id, "open " + std::to_string(i));
    carry.data(id, IT_IN, 0, "", std::string(100 + i % 300, 'x'));
    if (stays) kept.push_back("control open " + std::to_string(i));
    const uint64_t ticket = carry.handed(id, at(1000, 0, 1));
    if (!stays) carry.closed(id);
    carry.durable(id, ticket);
  }
  Lines found;
  for (const std::string& line : left(memory))
    if (line.starts_with("control")) found.push_back(line);
  EXPECT_EQ(kept, found);
  EXPECT_EQ(0u, carry.counts().evictions);
  EXPECT_EQ(0u, carry.counts().unkept);
}

// Takes a picture of the memory between the two ends of each move.
struct Mover : carry::CarryOwner {
  explicit Mover(Memory& of) : memory(of) {}
  bool lives(const carry::RecordHead& head, const carry::Place& at) override {
    return places.contains(head.sequence) && places[head.sequence] == at;
  }
  void moved(const carry::RecordHead& head, const carry::Place& to) override {
    places[head.sequence] = to;
    pictures.push_back(memory);
  }
  bool evict() override { return false; }

  Memory& memory;
  std::map<uint64_t, carry::Place> places;
  std::vector<Memory> pictures;
};

TEST(Carry, AKillInTheMiddleOfAMoveFindsARecordOnce) {
  Memory memory(10);
  Carry(memory.bytes(), options());   // the header
  Mover mover(memory);
  carry::Space space(memory.bytes(), mover);
  space.start(kSegment);
  space.wipe();
  uint64_t sequence = 1;
  auto write = [&](carry::Kind kind, std::string_view payload) {
    carry::RecordHead head{};
    head.kind = static_cast<uint8_t>(kind);
    head.stream = kFlow.id;
    head.sequence = sequence++;
    carry::Place place;
    ASSERT_TRUE(space.append(head, payload, {}, &place));
    if (payload != "goes") mover.places[head.sequence] = place;
    else space.release(place);
  };
  write(carry::Kind::kAnchor, std::string(sizeof(carry::Anchor), '\0'));
  for (int i = 0; i < 2000; i++) write(carry::Kind::kControl, i % 40 == 0 && i < 400 ? "stays " + std::to_string(i) : "goes");
  ASSERT_GT(mover.pictures.size(), 5u);
  for (Memory& picture : mover.pictures) {
    std::multiset<std::string> stay;
    for (const std::string& line : left(picture))
      if (line.starts_with("control stays")) stay.insert(line);
    ASSERT_EQ(10u, stay.size());
    ASSERT_EQ(10u, std::set<std::string>(stay.begin(), stay.end()).size());
    Carry(picture.bytes(), options()).closed(kFlow);
    ASSERT_EQ(Lines{}, left(picture)) << "the other copy is not found by the daemon after";
  }
}

TEST(Carry, WhenItIsFullTheLargestStreamSaysWhatIsMissing) {
  Memory memory(64);
  Carry carry(memory.bytes(), options());
  carry.control(kObject, "small");
  carry.data(kObject, IT_IN, 0, "", "request");
  carry.control(kFlow, "large");
  const std::string part(1000, 'x');
  uint64_t sent = 0;
  for (; sent < 4 * 64 * kSegment; sent += part.size()) carry.data(kFlow, IT_OUT, sent, "", part);
  CarryFound found;
  const Lines lines = left(memory, &found);
  EXPECT_GT(carry.counts().evictions, 0u);
  EXPECT_GT(carry.counts().evicted_bytes, sent / 2);
  EXPECT_EQ(0u, carry.counts().unkept);
  EXPECT_EQ(1, std::count(lines.begin(), lines.end(), "data request")) << "the small one is whole";
  // One range, and with what is there it is everything.
  uint64_t bytes = 0, from = 0, to = 0;
  for (const std::string& line : lines) {
    if (line.starts_with("data x")) bytes += line.size() - 5;
    if (!line.starts_with("flow 11 evicted")) continue;
    ASSERT_EQ(2, sscanf(line.c_str(), "flow 11 evicted 1 %lu-%lu", &from, &to));
  }
  EXPECT_EQ(sent, bytes + (to - from));
  EXPECT_GT(from, 0u) << "the beginning is kept: the message's head stands there";
  EXPECT_GT(bytes, 20 * kSegment);
  // Once it is durable up to behind the range nothing is missing any more.
  carry.durable(kFlow, carry.handed(kFlow, at(0, sent, 1)));
  EXPECT_EQ((Lines{"control small", "data request", "flow 11 resume 0," + std::to_string(sent) + " after 1 http1", "control large"}),
            left(memory));
}

TEST(Carry, WhenThereIsNothingToGiveUpItIsCounted) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  for (uint64_t i = 1; i < 1000; i++) carry.control({i, false}, "open");
  EXPECT_GT(carry.counts().unkept, 0u);
  CarryFound found;
  EXPECT_GT(left(memory, &found).size(), 50u);
  EXPECT_EQ(carry.counts().unkept, found.unkept) << "the next daemon knows that there was more";
}

TEST(Carry, ARecordThatIsTooLargeIsNamedMissing) {
  Memory memory(8);
  Carry carry(memory.bytes(), options());
  carry.data(kFlow, IT_IN, 0, "", "abc");
  carry.data(kFlow, IT_IN, 3, "", std::string(2 * kSegment, 'x'));
  EXPECT_EQ((Lines{"flow 11 evicted 0 3-" + std::to_string(3 + 2 * kSegment), "data abc"}), left(memory));
}

// Random work against a model, with a new daemon at random points, and memory that is scarce.
TEST(Carry, RandomWorkOverManyKillsAgreesWithAModel) {
  for (uint32_t seed = 1; seed <= 20; seed++) {
    std::mt19937 random(seed);
    Memory memory(24);
    auto carry = std::make_unique<Carry>(memory.bytes(), options());
    struct Model {
      uint64_t next = 0, durable = 0;
    };
    std::map<uint64_t, Model> model;
    uint64_t next_stream = 1;
    for (int step = 0; step < 3000; step++) {
      const uint32_t what = random() % 100;
      if (what < 10 && model.size() < 12) {
        carry->control({next_stream, false}, "open");
        model[next_stream++] = {};
      } else if (what >= 98) {
        carry.reset();
        carry = std::make_unique<Carry>(memory.bytes(), options());
        ASSERT_TRUE(carry->found().adopted);
        ASSERT_EQ(0u, carry->found().corrupt);
        ASSERT_EQ(model.size(), carry->found().streams);
      } else if (!model.empty()) {
        auto at_stream = std::next(model.begin(), random() % model.size());
        auto& [id, stream] = *at_stream;
        if (what < 70) {
          const size_t size = 1 + random() % 900;
          carry->data({id, false}, IT_IN, stream.next, "", std::string(size, static_cast<char>('a' + id % 26)));
          stream.next += size;
        } else if (what < 92) {
          stream.durable += stream.next == stream.durable ? 0 : random() % (stream.next - stream.durable + 1);
          carry->durable({id, false}, carry->handed({id, false}, at(stream.durable, 0, 1)));
        } else {
          carry->closed({id, false});
          model.erase(at_stream);
        }
      }
    }
    // Every byte that is not durable is there or named, and each once.
    std::map<uint64_t, uint64_t> there, named;
    Carry last(memory.bytes(), options());
    CarryReplay replay;
    std::map<uint64_t, uint64_t> opens;
    replay.resume = [](StreamId, const Resume&) {};
    replay.evicted = [&](StreamId id, uint8_t, uint64_t from, uint64_t to) { named[id.id] += to - from; };
    replay.control = [](std::string_view) {};
    uint64_t bytes = 0;
    replay.data = [&](std::string_view record) { bytes += record.size(); };
    last.replay(replay);
    uint64_t needed = 0, most = 0;
    for (auto& [id, stream] : model) needed += stream.next - stream.durable;
    for (auto& [id, missing] : named) most += missing;
    EXPECT_GE(bytes + most, needed) << seed;
    EXPECT_LE(bytes + most, needed + 12 * 900) << seed << ": at most one record of each stream is only half needed";
    ASSERT_EQ(model.size(), last.found().streams) << seed;
  }
}

}  // namespace
}  // namespace infertrail
