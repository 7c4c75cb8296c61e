#include "protocol/http1_head.h"

#include <gtest/gtest.h>

#include <string>

namespace infertrail {
namespace {

TEST(Http1Head, RefusesWhatIsNoRequestLine) {
  for (const char* line :
       {"GET /", "GET / HTTP/2.0", "GET / HTTP/1.x", "G(T / HTTP/1.1", " GET / HTTP/1.1", ""})
    EXPECT_FALSE(parse_http1_head(std::string(line) + "\r\n\r\n", true).ok()) << line;
}

TEST(Http1Head, RefusesWhatIsNoStatusLine) {
  for (const char* line : {"HTTP/1.1", "HTTP/1.1 20", "HTTP/1.1 2x0 OK", "HTTP/1.1 2000",
                           "HTTP/1.1 099 x", "HTTP/2 200 OK"})
    EXPECT_FALSE(parse_http1_head(std::string(line) + "\r\n\r\n", false).ok()) << line;
}

TEST(Http1Head, RefusesHeadersThatServersReadDifferently) {
  for (const char* field : {"Content-Length : 5", ": x", "no colon", "B\xc3\xa4h: x"})
    EXPECT_FALSE(
        parse_http1_head("GET / HTTP/1.1\r\n" + std::string(field) + "\r\n\r\n", true).ok())
        << field;
  EXPECT_FALSE(parse_http1_head("GET / HTTP/1.1\r\n folded: first\r\n\r\n", true).ok());
  EXPECT_FALSE(parse_http1_head(std::string("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 26), true).ok());
}

TEST(Http1Head, AnErrorNeverQuotesTheLine) {
  auto head = parse_http1_head("GET / HTTP/1.1\r\nsecret-token\r\n\r\n", true);
  ASSERT_FALSE(head.ok());
  EXPECT_EQ(std::string::npos, head.error().message.find("secret"));
}

Result<BodyFraming> framing(const std::string& fields, bool request, uint32_t status = 200,
                            std::string_view method = "GET") {
  Head head;
  head.status = request ? 0 : status;
  head.version = "1.1";
  head.headers = parse_http1_fields(fields, &head.notes).value();
  return body_framing(&head, request, method);
}

TEST(Http1Framing, FollowsRfc9112Section63) {
  struct Case {
    const char* fields;
    bool request;
    uint32_t status;
    const char* method;
    Framing want;
    uint64_t length;
  };
  for (const Case& c : {
           Case{"", true, 0, "", Framing::kNone, 0},
           Case{"", false, 200, "GET", Framing::kUntilClose, 0},
           Case{"Content-Length: 5\r\n", false, 200, "HEAD", Framing::kNone, 0},
           Case{"Content-Length: 5\r\n", false, 204, "GET", Framing::kNone, 0},
           Case{"Transfer-Encoding: chunked\r\n", false, 304, "GET", Framing::kNone, 0},
           Case{"Content-Length: 5\r\n", false, 200, "GET", Framing::kLength, 5},
           Case{"Content-Length: 0\r\n", false, 200, "GET", Framing::kNone, 0},
           Case{"Content-Length: 5, 5\r\n", true, 0, "", Framing::kLength, 5},
           Case{"Transfer-Encoding: gzip, chunked\r\nContent-Length: 9\r\n", true, 0, "",
                Framing::kChunked, 0},
           Case{"Transfer-Encoding: gzip\r\n", false, 200, "GET", Framing::kUntilClose, 0},
       }) {
    auto got = framing(c.fields, c.request, c.status, c.method);
    ASSERT_TRUE(got.ok()) << c.fields;
    EXPECT_EQ(c.want, got.value().framing) << c.fields << c.method;
    EXPECT_EQ(c.length, got.value().length) << c.fields;
  }
}

TEST(Http1Framing, RefusesLengthsThatMeanNothingOrTwoThings) {
  for (const char* fields :
       {"Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n", "Content-Length: \r\n", "Content-Length: 5,\r\n",
        "Content-Length: 99999999999999999999\r\n", "Transfer-Encoding: chunked, gzip\r\n"})
    EXPECT_FALSE(framing(fields, true).ok()) << fields;
}

TEST(Http1Chunk, ReadsSizesAndRefusesOthers) {
  EXPECT_EQ(26u, parse_chunk_size("1a;x=\"y\""));
  EXPECT_EQ(10u, parse_chunk_size("00A  ;x"));
  EXPECT_EQ(0u, parse_chunk_size("0"));
  for (const char* line : {"", ";", "x", "-1", "1 2", "0x5", "fffffffffffffffff"})
    EXPECT_EQ(std::nullopt, parse_chunk_size(line)) << line;
}

}  // namespace
}  // namespace infertrail
