#include "cli/arguments.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cli/commands.h"

namespace infertrail::cli {
namespace {

Result<Arguments> parse(const std::vector<std::string>& given) {
  return parse_arguments(given, commands(), global_flags());
}

std::string error_of(const std::vector<std::string>& given) {
  auto parsed = parse(given);
  EXPECT_FALSE(parsed.ok());
  if (parsed.ok()) return "";
  EXPECT_EQ(parsed.error().code, Code::kInvalid);
  return parsed.error().message;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Arguments, FlagsAndParametersInAnyOrder) {
  auto parsed = parse({"--socket=/s", "show", "--json", "17", "--color", "never"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_STREQ(parsed.value().command->name, "show");
  EXPECT_EQ(parsed.value().value("--socket"), "/s");
  EXPECT_EQ(parsed.value().value("--color"), "never");
  EXPECT_TRUE(parsed.value().has("--json"));
  EXPECT_EQ(parsed.value().words, std::vector<std::string>{"17"});
}

TEST(Arguments, LettersMayBeJoined) {
  for (const std::vector<std::string>& given :
       {std::vector<std::string>{"log", "-fn5"}, {"log", "-f", "-n", "5"}, {"log", "--follow", "--limit=5"}}) {
    auto parsed = parse(given);
    ASSERT_TRUE(parsed.ok());
    EXPECT_TRUE(parsed.value().has("--follow"));
    EXPECT_EQ(parsed.value().number("--limit", 1, 100).value(), 5u);
  }
}

TEST(Arguments, TwoWordCommands) {
  auto parsed = parse({"target", "--json", "add", "port=80"});
  EXPECT_FALSE(parsed.ok());   // a command's flag stands behind the command
  parsed = parse({"target", "add", "port=80"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_STREQ(parsed.value().command->name, "target add");
  EXPECT_TRUE(has(error_of({"target"}), "target add, target remove, target list, target discover"));
}

TEST(Arguments, AfterTwoDashesEverythingIsAParameter) {
  auto parsed = parse({"show", "--", "--json"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed.value().words, std::vector<std::string>{"--json"});
  EXPECT_FALSE(parsed.value().has("--json"));
}

TEST(Arguments, UnknownNamesAreAnsweredWithTheNearest) {
  EXPECT_TRUE(has(error_of({"lgo"}), "did you mean log?"));
  EXPECT_TRUE(has(error_of({"verfy"}), "did you mean verify?"));
  EXPECT_TRUE(has(error_of({"target", "dicsover"}), "did you mean discover?"));
  EXPECT_TRUE(has(error_of({"log", "--folow"}), "did you mean --follow?"));
  EXPECT_TRUE(has(error_of({"log", "--gerp=x"}), "did you mean --grep?"));
  EXPECT_TRUE(has(error_of({"status", "--sokcet", "x"}), "did you mean --socket?"));
  EXPECT_TRUE(has(error_of({"--follow", "log"}), "behind its command"));
  EXPECT_FALSE(has(error_of({"qqqqqqqqqq"}), "did you mean"));
  EXPECT_TRUE(has(error_of({"\x1b[2J"}), "\\x1b[2J"));
}

TEST(Arguments, MissingAndSuperfluousThingsAreNamed) {
  EXPECT_TRUE(has(error_of({"show"}), "show wants NAME"));
  EXPECT_TRUE(has(error_of({"show", "1", "2"}), "\"2\" is one argument too many"));
  EXPECT_TRUE(has(error_of({"status", "now"}), "\"now\" is one argument too many"));
  EXPECT_TRUE(has(error_of({"log", "--model"}), "--model wants a value (NAME)"));
  EXPECT_TRUE(has(error_of({"log", "--model="}), "--model wants a value (NAME)"));
  EXPECT_TRUE(has(error_of({"log", "-n"}), "-n wants a value (N)"));
  EXPECT_TRUE(has(error_of({"log", "--json=yes"}), "--json takes no value"));
}

TEST(Arguments, HelpExcusesMissingParameters) {
  auto parsed = parse({"show", "--help"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_STREQ(parsed.value().command->name, "show");
  ASSERT_TRUE(parse({"target", "-h"}).ok());
  EXPECT_EQ(parse({"target", "-h"}).value().group, "target");
}

TEST(Arguments, NumbersHaveBounds) {
  for (const char* text : {"0", "-1", "x", "5x", "", " 5", "1001", "99999999999999999999999"}) {
    Arguments arguments;
    arguments.values["--limit"] = text;
    auto number = arguments.number("--limit", 1, 1000);
    ASSERT_FALSE(number.ok()) << text;
    EXPECT_TRUE(has(number.error().message, "--limit")) << text;
  }
  Arguments none;
  EXPECT_EQ(none.number("--limit", 1, 1000).value(), 0u);
}

TEST(Arguments, NoCommandHasTwoFlagsOfOneName) {
  for (const Command& command : commands()) {
    std::vector<std::string> names;
    for (const auto* flags : {&command.flags, &global_flags()})
      for (const Flag& flag : *flags) {
        names.push_back(flag.name);
        if (flag.letter) names.push_back(std::string("-") + flag.letter);
      }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end()) << command.name;
  }
}

}  // namespace
}  // namespace infertrail::cli
