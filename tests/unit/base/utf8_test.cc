#include "base/utf8.h"

#include <gtest/gtest.h>

namespace infertrail {
namespace {

TEST(Utf8, AcceptsWhatRfc3629Accepts) {
  for (const char* text :
       {"", "plain", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(text)) << text;
}

TEST(Utf8, RefusesOverlongSurrogatesCutAndTooBig) {
  for (const char* text : {"\xc0\x80", "\xc1\xbf", "\xf5\x80\x80\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                           "\xf4\x90\x80\x80", "\xe2\x82", "\x80", "\xff", "a\xc3"})
    EXPECT_FALSE(is_utf8(text)) << text;
}

TEST(Utf8, WritesBadBytesSoThatNothingIsLost) {
  EXPECT_EQ("a\\xff\xc3\xa9\\xe2\\x82", to_utf8("a\xff\xc3\xa9\xe2\x82"));
  EXPECT_EQ(std::string("a\0b", 3), to_utf8(std::string_view("a\0b", 3)));
}

// Looked at in words of eight bytes: a bad byte must be found at each place of a word.
TEST(Utf8, FindsABadByteAtEachPlace) {
  for (size_t size = 1; size < 40; size++) {
    std::string text(size, 'x');
    EXPECT_TRUE(is_utf8(text));
    EXPECT_EQ(skip_ascii(text, 0), size);
    for (size_t at = 0; at < size; at++) {
      text[at] = '\xff';
      EXPECT_FALSE(is_utf8(text)) << at << " of " << size;
      for (size_t from = 0; from <= at; from++) EXPECT_EQ(skip_ascii(text, from), at);
      text[at] = 'x';
    }
  }
}

}  // namespace
}  // namespace infertrail
