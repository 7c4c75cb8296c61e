// Replays every transcript in every way bytes can arrive; tests/corpus/README.md has the rules.
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "unit/corpus.h"

namespace infertrail::corpus {
namespace {

using google::protobuf::util::MessageDifferencer;

std::vector<Transcript> all() {
  std::vector<Transcript> transcripts;
  for (const char* folder : {"http1", "openai"})
    for (Transcript& transcript : load(folder)) transcripts.push_back(std::move(transcript));
  return transcripts;
}

class Corpus : public testing::TestWithParam<Transcript> {};

std::string dump(const std::vector<Record>& records) {
  std::string text;
  for (const Record& record : records) text += record.ShortDebugString() + "\n";
  return text;
}

void expect_same(const std::vector<Record>& want, const std::vector<Record>& got) {
  ASSERT_EQ(want.size(), got.size()) << "wanted\n" << dump(want) << "got\n" << dump(got);
  for (size_t i = 0; i < want.size(); i++) {
    std::string report;
    MessageDifferencer differencer;
    differencer.ReportDifferencesToString(&report);
    ASSERT_TRUE(differencer.Compare(want[i], got[i])) << "record " << i << ": " << report;
  }
}

// Joined segments have one time for two pieces. And where a part is undecoded, its number depends
// on which direction came first, which reordering changes.
std::vector<Record> without_times(std::vector<Record> records) {
  bool undecoded = std::any_of(records.begin(), records.end(),
                               [](const Record& record) { return record.kind() == "undecoded"; });
  for (Record& record : records) {
    if (undecoded) record.mutable_flow()->clear_exchange_number();
    record.clear_time();
    record.clear_end_time();
    record.clear_duration_ms();
    record.clear_first_byte_ms();
  }
  return records;
}

std::vector<Step> cut(const std::vector<Step>& steps, std::mt19937& random, size_t most) {
  std::vector<Step> out;
  for (const Step& step : steps) {
    for (size_t at = 0; at < step.bytes.size();) {
      size_t size = std::min<size_t>(1 + random() % most, step.bytes.size() - at);
      out.push_back({step.direction, step.offset + at, step.time_ns, step.bytes.substr(at, size)});
      at += size;
    }
  }
  return out;
}

TEST_P(Corpus, GivesTheExpectedRecordsAndTheyCanBeStored) {
  auto records = replay(GetParam(), steps_of(GetParam()));
  ASSERT_EQ(GetParam().records.size(), records.size()) << dump(records);
  for (size_t i = 0; i < records.size(); i++) {
    const Expected& expected = GetParam().records[i];
    EXPECT_EQ("", difference(expected, records[i]))
        << GetParam().path << ":" << expected.line << "\n"
        << records[i].DebugString();
    Record again;
    ASSERT_TRUE(again.ParseFromString(records[i].SerializeAsString()));
  }
}

TEST_P(Corpus, GivesTheSameByteByByte) {
  std::mt19937 random(1);
  auto steps = steps_of(GetParam());
  expect_same(replay(GetParam(), steps), replay(GetParam(), cut(steps, random, 1)));
}

TEST_P(Corpus, GivesTheSameAtRandomSplits) {
  auto steps = steps_of(GetParam());
  auto want = replay(GetParam(), steps);
  for (unsigned seed = 1; seed <= 30; seed++) {
    std::mt19937 random(seed);
    expect_same(want, replay(GetParam(), cut(steps, random, seed * 7)));
  }
}

TEST_P(Corpus, GivesTheSameFromTcpSegmentsRepeatedOverlappedAndReordered) {
  auto steps = steps_of(GetParam());
  auto want = without_times(replay(GetParam(), steps));
  for (unsigned seed = 1; seed <= 30; seed++) {
    std::mt19937 random(seed);
    auto segments = cut(steps, random, 200);
    size_t count = segments.size();
    for (size_t i = 0; i + 1 < count; i++) {
      if (random() % 3 == 0) segments.push_back(segments[i]);
      if (segments[i].direction != segments[i + 1].direction || random() % 3 != 0) continue;
      Step both = segments[i];
      both.bytes += segments[i + 1].bytes;
      segments.push_back(both);
    }
    std::shuffle(segments.begin(), segments.end(), random);
    expect_same(want, without_times(replay_segments(GetParam(), segments)));
    if (HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

// Both sides of an exchange as one key, so that a wrong pairing shows.
std::string sides(const Record& record) {
  Http http = record.http();
  std::string key = http.method() + " " + http.path() + " " + std::to_string(http.status());
  for (const Header& header : http.response_headers()) key += header.name() + ":" + header.value();
  for (const Header& header : http.request_headers()) key += header.name() + ":" + header.value();
  return key;
}

bool same_content(const Record& a, const Record& b) {
  return sides(a) == sides(b) && a.request().body() == b.request().body() &&
         a.response().body() == b.response().body() &&
         a.inference().output_text() == b.inference().output_text();
}

TEST_P(Corpus, NamesEachLostPieceAndNeverPairsWrongly) {
  auto steps = steps_of(GetParam());
  auto whole = replay(GetParam(), steps);
  for (size_t lost = 0; lost < steps.size(); lost++) {
    auto holed = steps;
    holed[lost].lost = true;
    auto records = replay(GetParam(), holed);
    uint64_t named = 0;
    for (const Record& record : records) {
      for (const auto& gap : record.gaps())
        if (gap.reason() == "ring_full" && gap.from() == steps[lost].offset) named++;
      if (record.kind() == "undecoded") continue;
      bool both = !record.http().method().empty() && record.http().status() != 0;
      bool known = std::any_of(whole.begin(), whole.end(), [&](const Record& from) {
        if (record.complete()) return same_content(from, record);
        return !both || sides(from) == sides(record);
      });
      // Trailers may be lost with the piece that carries them.
      bool trailers =
          record.gaps_size() > 0 && GetParam().path.find("trailer") != std::string::npos;
      EXPECT_TRUE(known || trailers) << "piece " << lost << " lost\n" << record.DebugString();
    }
    EXPECT_GT(named, 0u) << "piece " << lost << " lost and not named\n" << dump(records);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Corpus, testing::ValuesIn(all()), [](const auto& info) {
  std::string name = info.param.path.substr(info.param.path.rfind("corpus/") + 7);
  name.resize(name.size() - 4);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
      '_');
  return name;
});

}  // namespace

void PrintTo(const Transcript& transcript, std::ostream* out) {
  *out << transcript.path.substr(transcript.path.rfind('/') + 1);
}

}  // namespace infertrail::corpus
