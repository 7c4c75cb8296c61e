#include "base/sse.h"
#include "unit/mask/mask_testing.h"

namespace infertrail {
namespace {

constexpr std::string_view kText =
    "Card 4111 1111 1111 1111, mail jane.doe@example.com, key sk-test-0123456789abcdef. Bye";
constexpr std::string_view kMasked = "Card [[CARD:1]], mail [[EMAIL:1]], key [[API_KEY:1]]. Bye";

using Wrap = std::string (*)(const std::string& piece);

std::string chat(const std::string& p) {
  return R"({"choices":[{"index":0,"delta":{"content":")" + json::escape(p) +
         R"("}}],"id":"chatcmpl-1"})";
}
std::string reasoning(const std::string& p) {
  return R"({"choices":[{"index":0,"delta":{"reasoning_content":")" + json::escape(p) + R"("}}]})";
}
std::string completion(const std::string& p) {
  return R"({"choices":[{"text":")" + json::escape(p) + R"(","index":0}]})";
}
std::string tool(const std::string& p) {
  return R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":")" +
         json::escape(p) + R"("}}]}}]})";
}
std::string anthropic(const std::string& p) {
  return R"({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":")" +
         json::escape(p) + R"("}})";
}
std::string responses(const std::string& p) {
  return R"({"type":"response.output_text.delta","output_index":0,"delta":")" + json::escape(p) +
         R"("})";
}

// The text that a client puts together: the last string member of each event.
std::string rejoined(std::string_view body, std::string_view name) {
  std::string out;
  for (const auto& event : sse::scan(body)) {
    std::string data = sse::joined(body, event);
    auto document = json::Document::parse(data);
    if (!document.ok()) continue;
    for (const json::Node& node : document.value().nodes())
      if (node.type == json::Type::kString && document.value().key(node) == name)
        out += document.value().string(node);
  }
  return out;
}

void expect_no_clear_part(std::string_view body) {
  for (std::string_view value : {"4111 1111 1111 1111", "jane.doe@", "sk-test-0123456789abcdef"})
    for (size_t i = 0; i + 8 <= value.size(); i++)
      EXPECT_EQ(body.find(value.substr(i, 8)), std::string::npos) << value.substr(i, 8);
}

struct Row {
  const char* member;
  Wrap wrap;
};
constexpr Row kRows[] = {{"content", chat},    {"reasoning_content", reasoning},
                         {"text", completion}, {"arguments", tool},
                         {"text", anthropic},  {"delta", responses}};

TEST(Streams, EveryChunkingGivesTheSameText) {
  for (const Row& row : kRows) {
    for (size_t i = 0; i <= kText.size(); i++) {
      for (size_t step : {1, 2, 3, 5, 7, 11, 1000}) {
        std::string body = ": ping\n\n";
        std::string text(kText);
        for (size_t at = 0; at < text.size();) {
          size_t length = at == 0 && i > 0 ? i : step;
          body += "data: " + row.wrap(text.substr(at, length)) + "\n\n";
          at += length;
        }
        body += "data: [DONE]\n\n";
        Record record = with_body(body, "text/event-stream");
        record.mutable_inference()->set_output_text(text);
        record = masked(record);
        const std::string& out = record.response().body();
        ASSERT_EQ(rejoined(out, row.member), kMasked) << row.member << " " << i << " " << step;
        ASSERT_EQ(record.inference().output_text(), kMasked);
        ASSERT_EQ(count(record, "CARD"), 1u);
        expect_no_clear_part(out);
        for (const auto& event : sse::scan(out)) {
          std::string data = sse::joined(out, event);
          ASSERT_TRUE(data == "[DONE]" || is_json(data)) << data;
        }
      }
    }
  }
}

TEST(Streams, ToolArgumentsInPiecesAreReadAsJson) {
  std::string arguments =
      R"({"to":"jane\u0040example.com","card":4111111111111111,"t":"\nx@example.com"})";
  for (size_t step = 1; step < 12; step++) {
    std::string body;
    for (size_t at = 0; at < arguments.size(); at += step)
      body += "data: " + tool(arguments.substr(at, step)) + "\n\n";
    std::string joined = rejoined(masked_body(body, "text/event-stream"), "arguments");
    ASSERT_EQ(joined, R"({"to":"[[EMAIL:1]]","card":"[[CARD:1]]","t":"\n[[EMAIL:2]]"})") << step;
  }
}

TEST(Streams, InterleavedChoicesAreToldApart) {
  auto choice = [](int index, std::string text) {
    return R"(data: {"choices":[{"index":)" + std::to_string(index) + R"(,"delta":{"content":")" +
           text + "\"}}]}\n\n";
  };
  std::string body = choice(0, "4111 1111") + choice(1, "jane@exam") + choice(0, " 1111 1111") +
                     choice(1, "ple.com");
  EXPECT_EQ(masked_body(body, "text/event-stream"),
            choice(0, "[[CARD:1]]") + choice(1, "[[EMAIL:1]]") + choice(0, "") + choice(1, ""));
}

TEST(Streams, RepeatedConstantsAreNotPieces) {
  std::string event = "data: {\"user\":\"jane@example.com\",\"delta\":\"x\"}\n\n";
  std::string expected = "data: {\"user\":\"[[EMAIL:1]]\",\"delta\":\"x\"}\n\n";
  EXPECT_EQ(masked_body(event + event + event, "text/event-stream"),
            expected + expected + expected);
}

TEST(Streams, LinesOfJson) {
  std::string body =
      "{\"message\":{\"content\":\"mail jane@ex\"}}\n{\"message\":{\"content\":\"ample.com "
      "ok\"}}\n";
  std::string expected =
      "{\"message\":{\"content\":\"mail [[EMAIL:1]]\"}}\n{\"message\":{\"content\":\" ok\"}}\n";
  EXPECT_EQ(masked_body(body, "application/x-ndjson"), expected);
  EXPECT_EQ(masked_body(body, ""), expected) << "sniffed";
}

TEST(Streams, PlainTextEventsCommentsAndManyLinesAreScanned) {
  EXPECT_EQ(masked_body("data: 4111 1111 \n\ndata: 1111 1111\n\n: jane@example.com\n\n", ""),
            "data: [[CARD:1]]\n\ndata: \n\n: [[EMAIL:1]]\n\n");
  EXPECT_EQ(masked_body("data: {\"a\":\ndata: \"jane@example.com\"}\n\n", "text/event-stream"),
            "data: {\"a\":\ndata: \"[[EMAIL:1]]\"}\n\n");
}

TEST(Streams, CutStreamsMaskWhatMayGoOn) {
  std::string body = "data: " + chat("4111 1111") + "\n\ndata: " + chat(" 11") + "\n\ndata: {\"cho";
  std::string out = masked_body(body, "text/event-stream", true);
  EXPECT_EQ(out.find("4111"), std::string::npos);
  EXPECT_EQ(rejoined(out, "content"), "[[CARD:1]]");
}

// Found in a piece, hidden in the joined text by what stands before: must go from both.
TEST(Streams, WhatOnlyAPieceShowsGoesFromTheJoinedTextToo) {
  std::string body =
      "data: " + chat("abc") + "\n\ndata: " + chat("sk-test-0123456789abcdef") + "\n\n";
  Record record = with_body(body, "text/event-stream");
  record.mutable_inference()->set_output_text("abcsk-test-0123456789abcdef");
  record = masked(record);
  EXPECT_EQ(record.inference().output_text(), "abc[[API_KEY:1]]");
  EXPECT_EQ(rejoined(record.response().body(), "content"), "abc[[API_KEY:1]]");
}

}  // namespace
}  // namespace infertrail
