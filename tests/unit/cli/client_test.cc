#include "cli/client.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "control/server.h"
#include "infertrail/control.pb.h"

namespace infertrail::cli {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The daemon's own server with answers of the test.
class ClientTest : public testing::Test {
 protected:
  void serve(HttpAnswer answer) {
    path_ = "/tmp/infertrail-client-" + std::to_string(getpid()) + ".sock";
    auto give = [answer](const HttpRequest&) { return answer; };
    auto server = ControlServer::open(path_, {{"GET", "/v1/status", give}, {"POST", "/v1/log", give}});
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(server.value());
  }
  // Pieces as the daemon sends them.
  void serve_pieces(std::vector<std::string> pieces) {
    HttpAnswer answer;
    answer.stream = [pieces, at = size_t{0}]() mutable { return at < pieces.size() ? pieces[at++] : ""; };
    serve(answer);
  }
  Status stream(std::vector<std::string>* lines, size_t enough = SIZE_MAX) {
    Client client(path_);
    return client.stream("/v1/log", LogQuery(), [&](std::string_view line) -> Result<bool> {
      lines->emplace_back(line);
      return lines->size() < enough;
    });
  }

  std::string path_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ClientTest, ReadsAMessageAndSkipsWhatItDoesNotKnow) {
  serve({200, "application/json", "{\"version\":\"9\",\"size\":\"7\",\"of_tomorrow\":[1]}", {}});
  Client client(path_);
  StatusReply reply;
  auto status = client.get("/v1/status", &reply);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(reply.version(), "9");
  EXPECT_EQ(reply.size(), 7u);
  EXPECT_TRUE(client.answered());
}

TEST_F(ClientTest, AnErrorKeepsItsReasonAndKind) {
  serve({404, "application/json", "{\"error\":\"no such thing\"}", {}});
  Client client(path_);
  StatusReply reply;
  auto status = client.get("/v1/status", &reply);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "no such thing");
  EXPECT_EQ(status.error().code, Code::kNotFound);
  EXPECT_TRUE(client.answered());
}

TEST_F(ClientTest, AnAnswerThatIsNoMessageIsAnError) {
  serve({200, "text/plain", "<html>", {}});
  Client client(path_);
  StatusReply reply;
  EXPECT_FALSE(client.get("/v1/status", &reply).ok());
}

TEST_F(ClientTest, LinesMayBeCutAnywhereAndKeepAlivesAreLeftOut) {
  serve_pieces({"\n", "{\"a\":", "1}\n{\"b\"", ":2}\n\n", "{\"c\":3}\n"});
  std::vector<std::string> lines;
  auto status = stream(&lines);
  ASSERT_TRUE(status.ok()) << status.error().message;
  EXPECT_EQ(lines, (std::vector<std::string>{"{\"a\":1}", "{\"b\":2}", "{\"c\":3}"}));
}

TEST_F(ClientTest, AnErrorLineIsTheError) {
  serve_pieces({"{\"a\":1}\n", "{\"error\":\"the trail is damaged\"}\n"});
  std::vector<std::string> lines;
  auto status = stream(&lines);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "the trail is damaged");
  EXPECT_EQ(lines.size(), 1u);
}

TEST_F(ClientTest, AnAnswerThatEndsInsideALineIsAnError) {
  serve_pieces({"{\"a\":1}\n{\"b\":"});
  std::vector<std::string> lines;
  EXPECT_FALSE(stream(&lines).ok());
}

TEST_F(ClientTest, EnoughEndsTheStream) {
  serve_pieces({"1\n2\n3\n", "4\n"});
  std::vector<std::string> lines;
  ASSERT_TRUE(stream(&lines, 2).ok());
  EXPECT_EQ(lines, (std::vector<std::string>{"1", "2"}));
}

TEST_F(ClientTest, AReadableDescriptorEndsTheStream) {
  HttpAnswer answer;   // keep-alives without end
  answer.stream = [] {
    usleep(20'000);
    return std::string("\n");
  };
  serve(answer);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "x", 1), 1);
  Client client(path_);
  auto status = client.stream("/v1/log", LogQuery(), [](std::string_view) -> Result<bool> { return true; }, ends[0]);
  EXPECT_TRUE(status.ok());
  close(ends[0]);
  close(ends[1]);
}

TEST_F(ClientTest, NobodyAnswersIsOneSentenceWithAWayOut) {
  Client client("/tmp/infertrail-no-such-socket");
  StatusReply reply;
  auto status = client.get("/v1/status", &reply);
  ASSERT_FALSE(status.ok());
  EXPECT_FALSE(client.answered());
  EXPECT_EQ(status.error().message,
            "infertraild does not answer at /tmp/infertrail-no-such-socket (no such socket): is it running? Start "
            "it with `sudo infertraild`, or give --socket");
}

TEST(Client, EachReasonHasItsWayOut) {
  EXPECT_TRUE(has(why_no_answer("/s", EACCES), "use sudo"));
  EXPECT_TRUE(has(why_no_answer("/s", ECONNREFUSED), "nobody listens"));
  EXPECT_TRUE(has(why_no_answer("/s", ENOTDIR), "is it running?"));
  Client client(std::string(200, 'x'));
  StatusReply reply;
  auto status = client.get("/v1/status", &reply);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::kInvalid);
}

}  // namespace
}  // namespace infertrail::cli
