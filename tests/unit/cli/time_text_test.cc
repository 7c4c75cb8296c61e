#include "cli/time_text.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

namespace infertrail::cli {
namespace {

// The zone of the process for one test; put back afterwards.
class Zone {
 public:
  explicit Zone(const char* name) {
    if (const char* old = getenv("TZ")) old_ = old;
    setenv("TZ", name, 1);
    tzset();
  }
  ~Zone() {
    if (old_.empty())
      unsetenv("TZ");
    else
      setenv("TZ", old_.c_str(), 1);
    tzset();
  }

 private:
  std::string old_;
};

Timestamp at(int64_t seconds, int32_t nanos = 0) {
  Timestamp time;
  time.set_seconds(seconds);
  time.set_nanos(nanos);
  return time;
}

int64_t seconds_of(const std::string& text) {
  auto time = parse_time(text, at(1'000'000'000));
  EXPECT_TRUE(time.ok()) << text;
  return time.ok() ? time.value().seconds() : -1;
}

TEST(TimeText, SpansCountBackFromNow) {
  EXPECT_EQ(seconds_of("now"), 1'000'000'000);
  EXPECT_EQ(seconds_of("30s"), 1'000'000'000 - 30);
  EXPECT_EQ(seconds_of("10m"), 1'000'000'000 - 600);
  EXPECT_EQ(seconds_of("2h"), 1'000'000'000 - 7200);
  EXPECT_EQ(seconds_of("3d ago"), 1'000'000'000 - 3 * 86400);
  EXPECT_EQ(seconds_of(" 1h30m "), 1'000'000'000 - 5400);
  EXPECT_EQ(seconds_of("1w"), 1'000'000'000 - 7 * 86400);
}

TEST(TimeText, Rfc3339) {
  EXPECT_EQ(seconds_of("2026-01-01T00:00:00Z"), 1767225600);
  EXPECT_EQ(seconds_of("2026-01-01t00:00:00z"), 1767225600);
  EXPECT_EQ(seconds_of("2026-01-01T02:30:00+02:30"), 1767225600);
  EXPECT_EQ(seconds_of("2025-12-31T23:00:00-01:00"), 1767225600);
  EXPECT_EQ(seconds_of("2024-02-29T00:00:00Z"), 1709164800);
  auto fraction = parse_time("2026-01-01T00:00:00.25Z", at(0));
  ASSERT_TRUE(fraction.ok());
  EXPECT_EQ(fraction.value().nanos(), 250'000'000);
}

TEST(TimeText, WithoutOffsetItIsLocalTime) {
  Zone zone("UTC-3");   // POSIX: three hours east
  EXPECT_EQ(seconds_of("2026-01-01 03:00"), 1767225600);
  EXPECT_EQ(seconds_of("2026-01-01T03:00:00"), 1767225600);
  EXPECT_EQ(seconds_of("2026-01-01"), 1767225600 - 3 * 3600);
  EXPECT_EQ(exact_time(at(1767225600, 5'000'000)), "2026-01-01T03:00:00.005+03:00");
  EXPECT_EQ(short_time(at(1767225600)), "2026-01-01 03:00:00");
}

TEST(TimeText, WhatIsWrittenIsReadBack) {
  for (const char* name : {"UTC", "UTC+5:30", "UTC-9"}) {
    Zone zone(name);
    auto back = parse_time(exact_time(at(1767225600, 123'000'000)), at(0));
    ASSERT_TRUE(back.ok()) << name;
    EXPECT_EQ(back.value().seconds(), 1767225600) << name;
    EXPECT_EQ(back.value().nanos(), 123'000'000) << name;
  }
}

TEST(TimeText, WhatIsNoTimeIsRefusedWithTheForms) {
  for (const char* text :
       {"", "ago", "10", "m", "10x", "-5m", "1h30", "99999999999d", "yesterday", "2026", "2026-13-01",
        "2026-02-29", "2026-04-31", "2026-01-01T", "2026-01-01T25:00", "2026-01-01T00:60",
        "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+2:00", "2026-01-01T00:00:00Zx", "2026-01-01 00:00:00 Z",
        "26-01-01", "9999999999999999999m", "2026-1-1"}) {
    auto time = parse_time(text, at(1'000'000'000));
    ASSERT_FALSE(time.ok()) << text;
    EXPECT_EQ(time.error().code, Code::kInvalid) << text;
    EXPECT_NE(time.error().message.find("2026-05-02T14:03:12Z"), std::string::npos) << text;
  }
}

TEST(TimeText, DurationsAndSizesInWords) {
  EXPECT_EQ(duration_text(0), "<1ms");
  EXPECT_EQ(duration_text(999), "999ms");
  EXPECT_EQ(duration_text(1239), "1.23s");
  EXPECT_EQ(duration_text(125'000), "2m05s");
  EXPECT_EQ(duration_text(3'720'000), "1h02m");
  EXPECT_EQ(duration_text(3 * 86'400'000ull + 4 * 3'600'000), "3d04h");
  EXPECT_EQ(size_text(1023), "1023 B");
  EXPECT_EQ(size_text(1536), "1.5 KiB");
  EXPECT_EQ(size_text(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(short_time(at(0)), "-");
}

}  // namespace
}  // namespace infertrail::cli
