#include "cli/terminal.h"

#include <gtest/gtest.h>

namespace infertrail::cli {
namespace {

TEST(Terminal, WidthCountsColumnsAndNotBytes) {
  EXPECT_EQ(display_width("plain"), 5u);
  EXPECT_EQ(display_width("größe"), 5u);
  EXPECT_EQ(display_width("模型"), 4u);
  EXPECT_EQ(display_width("한국"), 4u);
  EXPECT_EQ(display_width("e\xcc\x81"), 1u);          // e and a combining acute
  EXPECT_EQ(display_width("🙂"), 2u);
  EXPECT_EQ(display_width("ＡＢ"), 4u);               // fullwidth
  EXPECT_EQ(display_width("\xe2\x80\x8d"), 0u);       // zero width joiner
}

TEST(Terminal, ControlCharactersAreNeverRaw) {
  for (int c = 0; c < 0x20; c++) {
    const std::string out = one_line(std::string(1, static_cast<char>(c)));
    ASSERT_GE(out.size(), 2u) << c;
    EXPECT_EQ(out[0], '\\') << c;
  }
  EXPECT_EQ(one_line("a\x1b[31mb"), "a\\x1b[31mb");
  EXPECT_EQ(one_line("\x7f"), "\\x7f");
  EXPECT_EQ(one_line("\xc2\x9b" "31m"), "\\u009b31m");   // CSI as one C1 character
  EXPECT_EQ(one_line("1\n2\r3\t4"), "1\\n2\\r3\\t4");
}

TEST(Terminal, TextThatHidesOrReordersIsShown) {
  EXPECT_EQ(one_line("\xe2\x80\xae" "abc"), "\\u202eabc");        // right-to-left override
  EXPECT_EQ(one_line("\xe2\x80\x8b"), "\\u200b");                 // zero width space
  EXPECT_EQ(one_line("\xf3\xa0\x81\xa1"), "\\U000e0061");         // tag character
  EXPECT_EQ(one_line("👩\xe2\x80\x8d💻"), "👩\xe2\x80\x8d💻");    // a joiner belongs to emoji
}

TEST(Terminal, BytesThatAreNoUtf8AreShown) {
  EXPECT_EQ(one_line("a\xff" "b"), "a\\xffb");
  EXPECT_EQ(one_line("\xe6\xa8"), "\\xe6\\xa8");          // cut inside a character
  EXPECT_EQ(one_line("\xc0\x9b"), "\\xc0\\x9b");          // overlong
  EXPECT_EQ(one_line("\xed\xa0\x80"), "\\xed\\xa0\\x80"); // surrogate
}

TEST(Terminal, BlockKeepsLinesAndNothingElse) {
  EXPECT_EQ(block("one\n\ttwo\x1b\n\nthree", 2), "  one\n      two\\x1b\n\n  three\n");
  EXPECT_EQ(block("a\r\nb\rc", 0), "a\nb\\rc\n");
  EXPECT_EQ(block("", 4), "");
}

TEST(Terminal, CutEndsInEllipsisAndNeverInsideACharacter) {
  EXPECT_EQ(cut("abcdef", 6), "abcdef");
  EXPECT_EQ(cut("abcdefg", 6), "abcde…");
  EXPECT_EQ(cut("模型模型", 6), "模型…");      // 4 + 1: a third would need 7
  EXPECT_EQ(cut("模型模型", 7), "模型模…");
  EXPECT_EQ(cut("e\xcc\x81" "abc", 3), "e\xcc\x81" "a…");
  EXPECT_EQ(cut("abc", 1), "…");
  EXPECT_EQ(cut("abc", 0), "");
  for (size_t columns = 0; columns < 12; columns++)
    EXPECT_LE(display_width(cut("a模b型cどe\xcc\x81", columns)), columns);
}

TEST(Terminal, ColourOnlyWhenTheStyleHasIt) {
  EXPECT_EQ(paint({false, 80}, Colour::kRed, "x"), "x");
  EXPECT_EQ(paint({true, 80}, Colour::kRed, "x"), "\x1b[31mx\x1b[0m");
  EXPECT_EQ(paint({true, 80}, Colour::kNone, "x"), "x");
}

TEST(Terminal, ColourMustBeAKnownWord) {
  auto style = style_of_stdout("sometimes");
  ASSERT_FALSE(style.ok());
  EXPECT_EQ(style.error().code, Code::kInvalid);
  ASSERT_TRUE(style_of_stdout("always").ok());
  EXPECT_TRUE(style_of_stdout("always").value().colour);
  EXPECT_FALSE(style_of_stdout("never").value().colour);
}

}  // namespace
}  // namespace infertrail::cli
