#include "cli/table.h"

#include <gtest/gtest.h>

#include <sstream>

namespace infertrail::cli {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Table, ColumnsAlignByDisplayWidth) {
  Table table({{"name"}, {"n", true}, {"end"}}, {});
  table.add({{"模型"}, {"7"}, {"x"}});
  table.add({{"e\xcc\x81"}, {"1234"}, {"y"}});
  EXPECT_EQ(table.text(),
            "name     n  end\n"
            "模型     7  x\n"
            "e\xcc\x81     1234  y\n");
}

TEST(Table, HostileCellsAreHarmlessAndStayOneLine) {
  Table table({{"a"}, {"b"}}, {});
  table.add({{"x\x1b[2J\ny\tz"}, {"1"}});
  EXPECT_EQ(table.text(),
            "a               b\n"
            "x\\x1b[2J\\ny\\tz  1\n");
}

TEST(Table, IsCutToTheTerminal) {
  Table table({{"id", true}, {"long", false, 6}, {"other", false, 6}}, {false, 30});
  table.add({{"12"}, {std::string(40, 'a')}, {"模型模型模型模型模型模型"}});
  for (const std::string& line : lines_of(table.text())) EXPECT_LE(display_width(line), 30u) << line;
  EXPECT_NE(table.text().find("…"), std::string::npos);
  EXPECT_NE(table.text().find("12"), std::string::npos);
}

TEST(Table, LeavesColumnsOutWhenCuttingIsNotEnough) {
  Table table({{"first"}, {"second", false, 4, 1}, {"third", false, 4, 2}}, {false, 14});
  table.add({{"aaaaaaaa"}, {"bbbbbbbb"}, {"cccccccc"}});
  const auto lines = lines_of(table.text());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "aaaaaaaa  bbb…");
}

TEST(Table, IsNeverCutInAPipe) {
  Table table({{"a", false, 2}, {"b", false, 2, 1}}, {false, 0});
  table.add({{std::string(500, 'x')}, {std::string(500, 'y')}});
  EXPECT_EQ(lines_of(table.text())[1], std::string(500, 'x') + "  " + std::string(500, 'y'));
}

TEST(Table, ColourDoesNotMoveColumns) {
  Table plain({{"a"}, {"b"}}, {false, 0}), coloured({{"a"}, {"b"}}, {true, 0});
  for (Table* table : {&plain, &coloured}) table->add({{"red", Colour::kRed}, {"x"}});
  std::string stripped = coloured.text();
  for (size_t at; (at = stripped.find('\x1b')) != std::string::npos;)
    stripped.erase(at, stripped.find('m', at) - at + 1);
  EXPECT_EQ(stripped, plain.text());
  EXPECT_NE(coloured.text(), plain.text());
}

TEST(Table, NoRowsGiveNoTitle) { EXPECT_EQ(Table({{"a"}}, {}).text(), ""); }

TEST(Table, RowsOneByOneHaveTheUsualWidths) {
  Table table({{"#", true, 0, 0, 4}, {"model", false, 4, 0, 8}, {"x"}}, {false, 40});
  EXPECT_EQ(table.fixed_title(), "   #  model     x\n");
  EXPECT_EQ(table.fixed_row({{"7"}, {"a-very-long-model"}, {"y"}}), "   7  a-very-…  y\n");
}

}  // namespace
}  // namespace infertrail::cli
