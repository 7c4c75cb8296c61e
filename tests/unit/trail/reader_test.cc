#include "trail/reader.h"

#include <sqlite3.h>

#include "trail/index.h"
#include "trail_support.h"

namespace infertrail::trail {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDay = "/index/2025-10-09.sqlite";  // of 1760000000

std::string answers(const std::string& dir, const LogQuery& query, bool use_index = true) {
  auto reader = Reader::open(dir, {use_index});
  if (!reader.ok()) return reader.error().message;
  auto records = reader.value()->query(query);
  if (!records.ok()) return records.error().message;
  std::string text;
  for (const Record& record : records.value()) text += std::to_string(record.index()) + " ";
  return text;
}

void edit_index(const std::string& dir, const char* statement) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((dir + kDay).c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, statement, nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

std::vector<LogQuery> queries() {
  std::vector<LogQuery> all(12);
  all[1].set_limit(3);
  all[2].set_model("odd-model");
  all[3].set_exe("vllm");
  all[4].set_pid(1003);
  all[5].set_status(500);
  all[6].set_grep("ANSWER 13");
  all[7].set_id("17");
  all[8].set_after_set(true), all[8].set_after_index(190);
  all[9].mutable_since()->set_seconds(1760000050), all[9].mutable_until()->set_seconds(1760000060);
  all[10].set_kind("recovery");
  all[11].set_grep("odd"), all[11].set_limit(5), all[11].set_status(200);
  return all;
}

TEST(Reader, AnswersAreTheSameWithTheIndexWithoutItAndAfterItWasDeleted) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 200));
  EXPECT_EQ(answers(temp.trail(), queries()[1]), "197 198 199 ");
  EXPECT_EQ(answers(temp.trail(), queries()[6]), "13 130 131 132 133 134 135 136 137 138 139 ");
  EXPECT_EQ(answers(temp.trail(), queries()[8]), "191 192 193 194 195 196 197 198 199 ");
  EXPECT_EQ(answers(temp.trail(), queries()[9]), "50 51 52 53 54 55 56 57 58 59 ");
  std::vector<std::string> first;
  for (const LogQuery& query : queries()) first.push_back(answers(temp.trail(), query));
  EXPECT_EQ(IndexView::open(temp.trail()).covered(), 200u);
  for (size_t i = 0; i < first.size(); i++)
    EXPECT_EQ(answers(temp.trail(), queries()[i], false), first[i]) << i;
  fs::remove_all(temp.trail() + "/index");
  for (size_t i = 0; i < first.size(); i++)
    EXPECT_EQ(answers(temp.trail(), queries()[i]), first[i]) << i;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 0));  // a start makes it again
  EXPECT_EQ(IndexView::open(temp.trail()).covered(), 200u);
  EXPECT_OK(verify_index(temp.trail()));
  for (size_t i = 0; i < first.size(); i++)
    EXPECT_EQ(answers(temp.trail(), queries()[i]), first[i]) << i;
}

TEST(Reader, AnIdAndItsPrefixFindTheRecord) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 20));
  std::string id = Reader::open(temp.trail()).value()->read(7).value().id();
  LogQuery query;
  query.set_id(id);
  EXPECT_EQ(answers(temp.trail(), query), "7 ");
  query.set_id(id.substr(0, 30));
  EXPECT_EQ(answers(temp.trail(), query), "7 ");
}

TEST(Index, AHiddenRowHidesNothing) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 50));
  std::vector<std::string> before;
  for (const LogQuery& query : queries()) before.push_back(answers(temp.trail(), query));
  edit_index(temp.trail(), "DELETE FROM records WHERE idx = 13");
  for (size_t i = 0; i < before.size(); i++)
    EXPECT_EQ(answers(temp.trail(), queries()[i]), before[i]) << i;
  EXPECT_FALSE(verify_index(temp.trail()).ok());
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 0));
  EXPECT_OK(verify_index(temp.trail()));
}

TEST(Index, AnAlteredRowIsNamedAndCannotPutARecordIntoAnAnswer) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 50));
  EXPECT_OK(verify_index(temp.trail()));
  edit_index(temp.trail(), "UPDATE records SET model = 'odd-model' WHERE idx = 12");
  EXPECT_NE(answers(temp.trail(), queries()[2]).find("row of entry 12"), std::string::npos);
  EXPECT_NE(verify_index(temp.trail()).error().message.find("entry 12"), std::string::npos);
  EXPECT_EQ(answers(temp.trail(), queries()[2], false).find(" 12 "), std::string::npos);
}

TEST(Index, ADamagedOrForeignIndexFileIsReplacedAtTheNextStart) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 50));
  store(temp.trail() + kDay, "this is no database, but it has some length");
  EXPECT_EQ(answers(temp.trail(), queries()[1]), "47 48 49 ");
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 0));
  EXPECT_OK(verify_index(temp.trail()));
}

TEST(Reader, AStoredRecordThatIsNotTheLeafsIsAnErrorThatNamesIt) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 1));
  // A doctored body in a frame with a right crc; the leaves stay.
  std::string path = temp.trail() + "/" + SegmentName{0, 0}.path(), bytes = load(path);
  std::vector<size_t> frames;
  for (size_t at = 0; (at = find_frame_magic(bytes, at)) != std::string::npos; at++)
    frames.push_back(at);
  ASSERT_EQ(frames.size(), 4u);  // checkpoint of 0, bodies, leaves, checkpoint of 1
  Record other = make_record(0);
  std::string body = other.SerializeAsString(), doctored = bytes.substr(0, frames[1]);
  ASSERT_OK(append_bodies_frame(doctored, 0, {body}));
  store(path, doctored + bytes.substr(frames[2]));
  auto read = Reader::open(temp.trail()).value()->read(0);
  ASSERT_FALSE(read.ok());
  EXPECT_NE(read.error().message.find("entry 0"), std::string::npos) << read.error().message;
  EXPECT_FALSE(verify_trail(temp.trail()).ok());
}

TEST(Reader, ReadsBesideAWriterAndSeesOnlyWhatIsSequenced) {
  TempDir temp;
  TrailOptions options = options_of(temp.trail());
  options.segment_bytes = 30000;
  std::atomic<uint64_t> sequenced{0};
  options.on_sequenced = [&](uint64_t index, const std::string&) { sequenced = index + 1; };
  auto writer = TrailWriter::open(options);
  ASSERT_OK(writer);
  std::thread load([&] {
    for (uint64_t i = 0; i < 3000; i++) EXPECT_OK(writer.value()->append(make_record(i)));
  });
  auto reader = Reader::open(temp.trail());
  ASSERT_OK(reader);
  LogQuery query;
  query.set_limit(20);
  for (uint64_t before = 0; before < 3000;) {
    before = sequenced;
    auto records = reader.value()->query(query);
    ASSERT_OK(records);
    EXPECT_EQ(
        records.value().size(),
        std::min<uint64_t>(20, records.value().empty() ? 0 : records.value().back().index() + 1));
    if (before > 0) {
      EXPECT_GE(records.value().back().index() + 1, before);
    }
    for (const Record& record : records.value())
      EXPECT_EQ(record.inference().output_text(), text_of(record.index()));
  }
  load.join();
  ASSERT_OK(writer.value()->close());
}

TEST(Reader, BytesThatWereWrittenButNotAcknowledgedAreNotSeenBesideAWriter) {
  TempDir temp;
  FailingDisk disk;
  TrailOptions options = options_of(temp.trail());
  options.files = disk.ops();
  auto writer = TrailWriter::open(options);
  ASSERT_OK(writer);
  ASSERT_OK(writer.value()->append_durable(make_record(0)));
  disk.count = 1 << 30,
  disk.first = disk.calls + 1;  // the write goes through, its fdatasync does not
  ASSERT_OK(writer.value()->append(make_record(1)));
  while (writer.value()->stats().write_failures == 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(Reader::open(temp.trail()).value()->size().value(), 1u);
  disk.count = 0;
  ASSERT_OK(writer.value()->close());
}

TEST(Reader, ASummaryLeavesTheTextsOut) {
  TempDir temp;
  ASSERT_OK(write_records(options_of(temp.trail()), 0, 1));
  LogQuery query;
  query.set_summary(true);
  auto records = Reader::open(temp.trail()).value()->query(query);
  ASSERT_OK(records);
  EXPECT_EQ(records.value()[0].inference().output_text(), "");
  EXPECT_EQ(records.value()[0].inference().model(), "even-model");
}

}  // namespace
}  // namespace infertrail::trail
