#include "base/json.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace infertrail::json {
namespace {

std::string error_of(std::string_view text, const Limits& limits = {}) {
  auto document = Document::parse(text, limits);
  return document.ok() ? "parsed" : document.error().message;
}

TEST(Json, KeepsTheByteSpanOfEveryValue) {
  std::string text = R"( {"a" : [1, "x\n", true], "b":{}, "c":null} )";
  auto parsed = Document::parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const Document& d = parsed.value();
  EXPECT_EQ(d.raw(d.root()), R"({"a" : [1, "x\n", true], "b":{}, "c":null})");
  const Node* a = d.find(d.root(), "a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(d.raw(*a), R"([1, "x\n", true])");
  EXPECT_EQ(d.key(*a), "a");
  const Node* one = d.child(*a);
  EXPECT_EQ(d.raw(*one), "1");
  EXPECT_EQ(one->key_begin, one->key_end);
  const Node* string = d.next(*one);
  EXPECT_EQ(d.raw(*string), R"("x\n")");
  EXPECT_EQ(d.string(*string), "x\n");
  const Node* flag = d.next(*string);
  EXPECT_TRUE(d.boolean(*flag));
  EXPECT_EQ(d.next(*flag), nullptr);
  const Node* b = d.next(*a);
  EXPECT_EQ(d.raw(*b), "{}");
  EXPECT_EQ(d.child(*b), nullptr);
  EXPECT_EQ(d.at(b->parent).type, Type::kObject);
  EXPECT_EQ(d.index_of(d.root()), 0u);
  EXPECT_EQ(d.next(*b)->type, Type::kNull);
}

TEST(Json, RootMayBeAnyValue) {
  for (const char* text : {"0", "-0.5e+10", "\"\"", "null", "[]", "[[],[]]", "true"})
    EXPECT_EQ(error_of(text), "parsed") << text;
}

TEST(Json, ErrorsNameTheByteAndWhatWasExpected) {
  EXPECT_EQ(error_of(""), "byte 0: expected a value");
  EXPECT_EQ(error_of(R"({"a" 1})"), "byte 5: expected ':'");
  EXPECT_EQ(error_of(R"({"a":1)"), "byte 6: expected ',' or '}'");
  EXPECT_EQ(error_of("[1 2]"), "byte 3: expected ',' or ']'");
  EXPECT_EQ(error_of("[1,]"), "byte 3: expected a value");
  EXPECT_EQ(error_of(R"({"a":1,})"), "byte 7: expected a name in quotes");
  EXPECT_EQ(error_of("{1:2}"), "byte 1: expected a name in quotes");
  EXPECT_EQ(error_of("1 2"), "byte 2: expected the end of the text");
  EXPECT_EQ(error_of("01"), "byte 1: expected the end of the text");
  EXPECT_EQ(error_of("-"), "byte 1: expected a digit");
  EXPECT_EQ(error_of("1."), "byte 2: expected a digit");
  EXPECT_EQ(error_of("1e+"), "byte 3: expected a digit");
  EXPECT_EQ(error_of("nul"), "byte 0: expected null");
  EXPECT_EQ(error_of("\"ab"), "byte 3: expected '\"'");
  EXPECT_EQ(error_of("\"\\x\""), "byte 2: expected one of \"\\/bfnrtu after the backslash");
  EXPECT_EQ(error_of("\"\\u12g4\""), "byte 5: expected a hex digit");
  EXPECT_EQ(error_of("\"a\nb\""), "byte 2: expected an escape instead of a control character");
  EXPECT_EQ(error_of("\xEF\xBB\xBF{}"), "byte 0: expected a value");
  EXPECT_EQ(error_of("NaN"), "byte 0: expected a value");
  EXPECT_EQ(error_of(std::string_view("1\0", 2)), "byte 1: expected the end of the text");
}

TEST(Json, DepthAndNodesAreBounded) {
  EXPECT_EQ(error_of(std::string(128, '[') + std::string(128, ']')), "parsed");
  EXPECT_EQ(error_of(std::string(129, '[') + std::string(129, ']')),
            "byte 128: expected at most 128 levels of nesting");
  EXPECT_EQ(error_of(std::string(1000000, '[')),
            "byte 128: expected at most 128 levels of nesting");
  EXPECT_EQ(error_of("[1,2,3]", {.max_depth = 8, .max_nodes = 3}),
            "byte 5: expected at most 3 values");
}

TEST(Json, LastOfDuplicateNamesWinsAndNamesAreDecoded) {
  auto d = Document::parse(R"({"a":1,"\u0061":2,"o":{"p":"q"}})");
  ASSERT_TRUE(d.ok());
  EXPECT_EQ(d.value().integer(*d.value().find(d.value().root(), "a")), 2);
  const Node* q = d.value().find(d.value().root(), {"o", "p"});
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(d.value().string(*q), "q");
  EXPECT_EQ(d.value().find(d.value().root(), {"o", "x", "y"}), nullptr);
  EXPECT_EQ(d.value().find(*q, "p"), nullptr);
}

std::string decoded(const std::string& literal) {
  auto d = Document::parse(literal);
  return d.ok() ? d.value().string(d.value().root()) : d.error().message;
}

TEST(Json, EscapesDecode) {
  EXPECT_EQ(decoded(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac")"), "\"\\/\b\f\n\r\tA\u00e9\u20ac");
  EXPECT_EQ(decoded(R"("\ud83d\ude00")"), "\U0001F600");
  EXPECT_EQ(decoded(R"("\ud83dx")"), "\uFFFDx");
  EXPECT_EQ(decoded(R"("\ude00")"), "\uFFFD");
  EXPECT_EQ(decoded(R"("\ud83d\ud83d\ude00")"), "\uFFFD\U0001F600");
  EXPECT_EQ(decoded(R"("\ud83d\u0041")"),
            "\uFFFD"
            "A");
  EXPECT_EQ(decoded("\"\xFF\xC3\""), "\xFF\xC3") << "invalid UTF-8 passes unchanged";
  EXPECT_EQ(decoded(R"("\u0000")"), std::string(1, '\0'));
}

TEST(Json, MappedStringPointsAtTheCharacterAsWritten) {
  std::string text = "[\"a\\u0040\\ud83d\\ude00\u00e9\xFFz\"]";
  auto d = Document::parse(text);
  ASSERT_TRUE(d.ok()) << d.error().message;
  const Node& node = *d.value().child(d.value().root());
  MappedString mapped = d.value().mapped(node);
  EXPECT_EQ(mapped.text, "a@\U0001F600\u00e9\xFFz");
  EXPECT_EQ(mapped.text, d.value().string(node));
  EXPECT_EQ(mapped.raw, (std::vector<uint32_t>{2, 3, 9, 9, 9, 9, 21, 21, 23, 24, 25}));
  EXPECT_EQ(text[mapped.raw.back()], '"');
}

TEST(Json, IntegersAreWholeAndFitOrAreNone) {
  auto d = Document::parse(R"([9223372036854775807,9223372036854775808,-1,1.0,1e3,"1",-0])");
  ASSERT_TRUE(d.ok());
  std::vector<std::optional<int64_t>> values;
  for (const Node* n = d.value().child(d.value().root()); n != nullptr; n = d.value().next(*n))
    values.push_back(d.value().integer(*n));
  EXPECT_EQ(values, (std::vector<std::optional<int64_t>>{INT64_MAX, std::nullopt, -1, std::nullopt,
                                                         std::nullopt, std::nullopt, 0}));
}

TEST(Json, EscapeRoundTrips) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; i++) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random() % 256);
    std::string literal = "\"" + escape(text) + "\"";
    ASSERT_EQ(decoded(literal), text);
  }
}

// Strings are read in words of eight bytes: what ends, escapes or is refused counts at each place.
TEST(Json, StringsAtEachPlaceOfAWord) {
  for (size_t size = 0; size < 40; size++) {
    const std::string plain(size, '\xc3');   // above ASCII: plain to the parser
    EXPECT_EQ(decoded("\"" + plain + "\""), plain);
    for (size_t at = 0; at <= size; at++) {
      const std::string before = plain.substr(0, at), after = plain.substr(at);
      EXPECT_EQ(decoded("\"" + before + "\\\"" + after + "\""), before + "\"" + after);
      for (char bad : {'\0', '\x01', '\x1f', '\n'})
        EXPECT_FALSE(Document::parse("\"" + before + bad + after + "\"").ok()) << at << " of " << size;
      for (char good : {' ', '!', '#', '[', ']', '\x7f', '\x80', '\xff'})
        EXPECT_TRUE(Document::parse("\"" + before + good + after + "\"").ok()) << at << " of " << size;
    }
  }
}

}  // namespace
}  // namespace infertrail::json
