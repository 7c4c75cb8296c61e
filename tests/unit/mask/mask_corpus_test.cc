// The masker on real transcripts, on random bytes and on mutations of all of them.
#include <fstream>
#include <random>
#include <sstream>

#include "base/bytes.h"
#include "base/sse.h"
#include "fuzz/fuzz.h"
#include "unit/mask/mask_testing.h"

namespace infertrail {
namespace {

constexpr const char* kSamples[] = {
    "chat.sse.txt",         "chat.txt",          "completion.sse.txt", "completion.txt",
    "embeddings-ok.txt",    "long.txt",          "messages.sse.txt",   "models.txt",
    "msgtool.sse.txt",      "responses.sse.txt", "think.sse.txt",      "tool.sse.txt",
    "v1completions.sse.txt"};

std::string read_sample(const std::string& name) {
  std::ifstream file(std::string(IT_SOURCE_DIR) + "/tests/corpus/samples/" + name,
                     std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return text.str();
}

// What follows the header; samples hold bodies after chunked decoding.
std::string body_of(const std::string& sample) {
  size_t end = sample.find("\r\n\r\n");
  size_t length = 4;
  if (end == std::string::npos) {
    end = sample.find("\n\n");
    length = 2;
  }
  return end == std::string::npos ? sample : sample.substr(end + length);
}

std::vector<std::string> bodies() {
  std::vector<std::string> out;
  for (const char* name : kSamples) out.push_back(body_of(read_sample(name)));
  return out;
}

// All decoded strings of all events or of the document, one after the other.
std::string texts_of(const std::string& body) {
  std::string out;
  auto collect = [&](const std::string& data) {
    auto document = json::Document::parse(data);
    if (!document.ok()) return;
    for (const json::Node& node : document.value().nodes())
      if (node.type == json::Type::kString) out += document.value().string(node);
  };
  collect(body);
  for (const auto& event : sse::scan(body)) collect(sse::joined(body, event));
  return out;
}

TEST(MaskCorpus, RealTranscriptsLoseTheirSecretsAndNothingElse) {
  for (const char* name : kSamples) {
    std::string body = body_of(read_sample(name));
    std::string out = masked_body(body, "");
    std::string texts = texts_of(out);
    for (const char* clear : {"jane.doe@", "@example.com", "4111", "0123456789abcdef"})
      EXPECT_EQ(texts.find(clear), std::string::npos) << name << ": " << clear;
    EXPECT_EQ(is_json(body), is_json(out)) << name;
    auto before = sse::scan(body), after = sse::scan(out);
    ASSERT_EQ(before.size(), after.size()) << name;
    for (size_t i = 0; i < before.size(); i++)
      EXPECT_EQ(is_json(sse::joined(body, before[i])), is_json(sse::joined(out, after[i]))) << name;
  }
}

TEST(MaskCorpus, TranscriptsWithoutSecretsAreUntouched) {
  for (const char* name : {"models.txt", "embeddings-ok.txt", "tool.sse.txt", "msgtool.sse.txt"}) {
    std::string body = body_of(read_sample(name));
    EXPECT_EQ(masked_body(body, ""), body) << name;
  }
}

TEST(MaskCorpus, TheChatOfTheSampleIsMaskedAsExpected) {
  std::string out =
      masked_body(body_of(read_sample("chat.txt")), "application/json; charset=utf-8");
  EXPECT_NE(out.find("your card [[CARD:1]]x and mail [[EMAIL:1]] are on file."), std::string::npos)
      << out;
}

TEST(MaskCorpus, MaskingTwiceIsMaskingOnce) {
  for (const std::string& body : bodies()) {
    Record once = masked(with_body(body, ""));
    Record twice = masked(once);
    EXPECT_EQ(once.response().body(), twice.response().body());
    EXPECT_EQ(twice.mask().not_run_size(), once.mask().not_run_size());
  }
  std::string many = "[";
  for (int i = 0; i < 1200; i++) many += "\"password: pass" + std::to_string(i) + "\",";
  many += "0]";
  std::string once = masked_body(many);
  EXPECT_NE(once.find("[[SECRET:1200]]"), std::string::npos);
  EXPECT_EQ(masked_body(once), once);
}

TEST(MaskCorpus, EveryCutOfARealStreamStaysClean) {
  std::string body = body_of(read_sample("chat.sse.txt"));
  for (size_t length = 0; length < body.size(); length += 3) {
    Record record = masked(with_body(body.substr(0, length), "text/event-stream", true));
    std::string texts = texts_of(record.response().body());
    for (const char* clear : {"4111 1111", "jane.doe@"})
      ASSERT_EQ(texts.find(clear), std::string::npos) << length;
  }
}

TEST(MaskFuzz, RandomBytesAndMutationsKeepThePromises) {
  std::mt19937 random(99);
  std::vector<std::string> seeds = bodies();
  seeds.push_back(
      R"({"a":"jane\u0040example.com","n":4111111111111111,"j":"{\"password\":\"x y\"}"})");
  seeds.push_back(
      "a=jane%40example.com&key=1 --token x -H Cookie: a=b http://u:p@h/ 10.1.2.3 [2001:db8::1]");
  static constexpr std::string_view kPieces[] = {"\"",
                                                 "\\",
                                                 "\\u0040",
                                                 "4111 1111 1111 1111",
                                                 "@",
                                                 "data: ",
                                                 "\n\n",
                                                 "{",
                                                 "}",
                                                 "[[CARD:1]]",
                                                 "sk-test-0123456789abcdef",
                                                 "password: hunter2",
                                                 "%40",
                                                 "\xC3\xA9",
                                                 "\xFF",
                                                 "4111111111111111"};
  for (int round = 0; round < 3000; round++) {
    std::string text = seeds[random() % seeds.size()].substr(0, 2000);
    for (size_t i = random() % 8; i > 0 && !text.empty(); i--) {
      size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 20);
          break;
        case 2:
          text.insert(at, kPieces[random() % std::size(kPieces)]);
          break;
        case 3:
          text.insert(at, text.substr(random() % text.size(), random() % 50));
          break;
      }
    }
    if (round % 10 == 0) {
      text.assign(random() % 500, '\0');
      for (char& c : text) c = static_cast<char>(random());
    }
    text.insert(text.begin(), static_cast<char>(random()));
    const auto* data = reinterpret_cast<const uint8_t*>(text.data());
    fuzz::mask(data, text.size());
    fuzz::json(data + 1, text.size() - 1);
  }
}

}  // namespace
}  // namespace infertrail
