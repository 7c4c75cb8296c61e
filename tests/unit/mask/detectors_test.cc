#include "mask/detectors.h"

#include <gtest/gtest.h>

#include <random>

#include "base/bytes.h"
#include "base/crypto.h"
#include "mask/scanner.h"

namespace infertrail {
namespace {

// "a «b» c" -> "a b c" and the span of b.
std::string unmarked(std::string_view example, std::vector<Span>* spans) {
  std::string text;
  for (size_t i = 0; i < example.size();) {
    if (example.substr(i).starts_with("«")) {
      spans->push_back({text.size(), 0});
      i += 2;
    } else if (example.substr(i).starts_with("»")) {
      spans->back().end = text.size();
      i += 2;
    } else {
      text.push_back(example[i++]);
    }
  }
  return text;
}

std::vector<Span> spans_of(Scanner* scanner, std::string_view text) {
  std::vector<Hit> hits;
  EXPECT_TRUE(scanner->find(text, &hits).ok());
  std::vector<Span> out;
  for (const Hit& hit : hits) {
    if (!out.empty() && hit.span.begin < out.back().end) {
      out.back().end = std::max(out.back().end, hit.span.end);
    } else {
      out.push_back(hit.span);
    }
  }
  return out;
}

TEST(Detectors, EveryRowFindsItsExamplesAndOnlyThem) {
  for (const Detector& row : detectors()) {
    auto scanner = Scanner::make({row.type});
    ASSERT_TRUE(scanner.ok()) << scanner.error().message;
    EXPECT_FALSE(row.hits.empty());
    EXPECT_FALSE(row.misses.empty());
    for (const char* example : row.hits) {
      std::vector<Span> expected;
      std::string text = unmarked(example, &expected);
      EXPECT_EQ(spans_of(&scanner.value(), text), expected) << row.type << ": " << example;
    }
    for (const char* example : row.misses)
      EXPECT_TRUE(spans_of(&scanner.value(), example).empty()) << row.type << ": " << example;
  }
}

TEST(Detectors, UnknownNameIsRefused) {
  auto scanner = Scanner::make({"EMAIL", "MAIL"});
  ASSERT_FALSE(scanner.ok());
  EXPECT_EQ(scanner.error().message, "there is no detector \"MAIL\"");
}

TEST(Detectors, ExamplesAreFoundInsideOtherText) {
  auto scanner = Scanner::make({});
  ASSERT_TRUE(scanner.ok());
  for (const Detector& row : detectors()) {
    for (const char* example : row.hits) {
      std::vector<Span> expected;
      std::string text = std::string(1, '\0') + unmarked(example, &expected) + std::string(1, '\0');
      std::vector<Hit> hits;
      ASSERT_TRUE(scanner.value().find(text, &hits).ok());
      bool found = std::any_of(hits.begin(), hits.end(), [&](const Hit& hit) {
        return hit.row == &row && hit.span.begin == expected[0].begin + 1;
      });
      EXPECT_TRUE(found) << row.type << ": " << example;
    }
  }
}

// Identifiers that fill real bodies must not be taken for personal data: the stated bound is one in
// a thousand, and none at all for uuids and times.
TEST(Detectors, RandomIdentifiersAreRarelyHits) {
  auto scanner = Scanner::make({});
  ASSERT_TRUE(scanner.ok());
  std::mt19937_64 random(20);
  auto hits_in = [&](const std::string& text) { return spans_of(&scanner.value(), text).size(); };
  size_t hashes = 0, uuids = 0, times = 0, floats = 0, small = 0, chat_ids = 0;
  constexpr int kRounds = 20000;
  for (int i = 0; i < kRounds; i++) {
    std::string bytes(32, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    std::string digits = hex(bytes);
    hashes += hits_in("sha256:" + digits);
    std::string uuid = digits.substr(0, 32);
    for (size_t at : {8, 13, 18, 23}) uuid.insert(at, 1, '-');
    uuids += hits_in(uuid);
    uint64_t now = 1600000000 + random() % 400000000;
    times += hits_in(std::to_string(now)) + hits_in(std::to_string(now * 1000 + random() % 1000)) +
             hits_in(std::to_string(now * 1000000000 + random() % 1000000000));
    floats += hits_in("-0." + std::to_string(1000000000000000 + random() % 9000000000000000));
    small += hits_in(std::to_string(random() % 1000000000000));
    chat_ids += hits_in("chatcmpl-" + base64_encode(bytes).substr(0, 32));
  }
  EXPECT_EQ(uuids, 0u);
  EXPECT_EQ(times, 0u);
  EXPECT_EQ(floats, 0u);
  EXPECT_EQ(small, 0u);
  EXPECT_LE(hashes, kRounds / 1000u);
  EXPECT_LE(chat_ids, kRounds / 1000u);
}

// Sixteen random digits in prose cannot be told from a card but by issuer and Luhn: about 4 %.
TEST(Detectors, RandomSixteenDigitsHitNoMoreThanIssuerAndLuhnAllow) {
  auto scanner = Scanner::make({"CARD"});
  ASSERT_TRUE(scanner.ok());
  std::mt19937_64 random(21);
  size_t found = 0;
  for (int i = 0; i < 20000; i++)
    found +=
        spans_of(&scanner.value(), std::to_string(1000000000000000 + random() % 9000000000000000))
            .size();
  EXPECT_LE(found, 20000u * 5 / 100);
  EXPECT_GE(found, 20000u * 2 / 100) << "the detector has stopped working";
}

TEST(Detectors, HostileTextStaysLinear) {
  auto scanner = Scanner::make({});
  ASSERT_TRUE(scanner.ok());
  for (std::string unit :
       {"1", "1 ", "4-", "@", "a@", ":", "a:", "1.", "eyJ", "-----BEGIN PRIVATE KEY",
        "token:", "sk-a1", "://a:b", "\"", "[", "password=", "ssn 1"}) {
    std::string text;
    while (text.size() < (1u << 18)) text += unit;
    std::vector<Hit> hits;
    ASSERT_TRUE(scanner.value().find(text, &hits).ok()) << unit;
  }
}

}  // namespace
}  // namespace infertrail
