#include "base/sse.h"

#include <gtest/gtest.h>

namespace infertrail::sse {
namespace {

std::vector<std::string> datas(std::string_view body) {
  std::vector<std::string> out;
  for (const Event& event : scan(body)) out.push_back(joined(body, event));
  return out;
}

TEST(Sse, AllThreeLineEndsGiveTheSameEvents) {
  for (std::string end : {"\n", "\r\n", "\r"}) {
    std::string body = ": ping" + end + end + "event: delta" + end + "data: {\"a\":1}" + end + end +
                       "data:x" + end + "data:  y" + end + "id: 7" + end + end;
    auto events = scan(body);
    ASSERT_EQ(events.size(), 2u) << end.size();
    EXPECT_EQ(events[0].name, "delta");
    EXPECT_EQ(joined(body, events[0]), "{\"a\":1}");
    EXPECT_EQ(events[1].name, "");
    EXPECT_EQ(joined(body, events[1]), "x\n y");
    EXPECT_TRUE(events[1].complete);
    EXPECT_EQ(events[0].end, events[1].begin);
    EXPECT_EQ(events[1].end, body.size());
    EXPECT_EQ(body.substr(events[0].begin, 5), "event");
  }
}

TEST(Sse, DataLinesAreSpansOfTheBody) {
  std::string body = "data: abc\n\n";
  auto events = scan(body);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].data[0].begin, 6u);
  EXPECT_EQ(events[0].data[0].end, 9u);
}

TEST(Sse, LastEventMayBeIncomplete) {
  auto events = scan("data: a\n\ndata: {\"cut");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_TRUE(events[0].complete);
  EXPECT_FALSE(events[1].complete);
  EXPECT_FALSE(scan("data: a\n")[0].complete) << "no blank line yet";
}

TEST(Sse, OddFieldsFollowTheStandard) {
  EXPECT_EQ(datas("data\n\n"), (std::vector<std::string>{""}));
  EXPECT_EQ(datas("\xEF\xBB\xBF"
                  "data: a\n\n"),
            (std::vector<std::string>{"a"}));
  EXPECT_EQ(datas("datax: a\n\nevent: only\n\n\n\n"), std::vector<std::string>{});
  EXPECT_EQ(datas("data: a\r\r\ndata: b"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(datas(""), std::vector<std::string>{});
}

}  // namespace
}  // namespace infertrail::sse
