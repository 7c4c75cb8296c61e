#include "dialect/dialect.h"

#include <gtest/gtest.h>

#include "dialect/openai.h"

namespace infertrail {
namespace {

TEST(Path, IsTheSameHoweverItIsWritten) {
  for (const char* target :
       {"/v1/models", "//v1///models/", "/v1/%6dodels?x=/y", "http://host:1/v1/models#f",
        "/a/../v1/./models", "/../v1/models", "/v1%2Fmodels"})
    EXPECT_EQ("/v1/models", normal_path(target)) << target;
  EXPECT_EQ("/", normal_path(""));
  EXPECT_EQ("/", normal_path("*").substr(0, 1));
  EXPECT_EQ("/", normal_path("http://host"));
  EXPECT_EQ("/a%zz%2", normal_path("/a%zz%2"));
}

Exchange asked(const std::string& target) {
  Exchange exchange;
  exchange.has_request = true;
  exchange.method = "POST";
  exchange.target = target;
  return exchange;
}

std::string operation(const std::string& target) {
  Record record;
  describe(asked(target), &record);
  return record.inference().dialect() + " " + record.inference().operation();
}

TEST(OpenAi, KnowsItsPathsWithAndWithoutPrefix) {
  EXPECT_EQ("openai chat", operation("/v1/chat/completions"));
  EXPECT_EQ("openai chat", operation("/openai/v1/chat/completions"));
  EXPECT_EQ("openai chat", operation("/chat/completions"));
  EXPECT_EQ("openai completion", operation("/serve/v1/completions"));
  EXPECT_EQ("openai completion", operation("/openai/deployments/d/completions"));
  EXPECT_EQ("openai embeddings", operation("/v1/embeddings"));
  EXPECT_EQ("openai models", operation("/v1/models/m"));
}

TEST(OpenAi, DoesNotTakeOthersPaths) {
  for (const char* target :
       {"/completion", "/completions", "/embeddings", "/v1/messages", "/v1/responses", "/api/chat",
        "/v1/models/m:predict", "/v1/chat/completionsx", "/xchat/completions"})
    EXPECT_EQ("unknown unknown", operation(target)) << target;
}

std::string server(std::vector<HeaderField> headers, const std::string& body,
                   const std::string& path = "/") {
  Exchange exchange = asked(path);
  exchange.status = 200;
  exchange.response_headers = std::move(headers);
  exchange.response.raw = body;
  return recognise_server(exchange, path);
}

TEST(Server, IsKnownByWhatOnlyItSays) {
  EXPECT_EQ("llama.cpp", server({{"server", "llama.cpp"}}, ""));
  EXPECT_EQ("llama.cpp", server({}, R"({"system_fingerprint": "b11669-Debian"})"));
  EXPECT_EQ("llama.cpp", server({}, R"({"data":[{"owned_by":"llamacpp"}]})"));
  EXPECT_EQ("litellm", server({{"X-LiteLLM-Version", "1"}}, R"({"system_fingerprint":"b1-x"})"));
  EXPECT_EQ("vllm",
            server({{"Server", "uvicorn"}}, R"({"tool_calls":[{"id":"chatcmpl-tool-1"}]})"));
  EXPECT_EQ("sglang", server({}, "", "/get_server_info"));
}

TEST(Server, IsUnknownWhereNothingProvesIt) {
  EXPECT_EQ("unknown", server({{"Server", "uvicorn"}}, "{}"));
  EXPECT_EQ("unknown", server({}, R"({"system_fingerprint":"fp_44709d6fcb"})"));
  EXPECT_EQ("unknown", server({}, R"({"system_fingerprint":null})"));
  // The model may say anything; inside a JSON string the quotes are escaped.
  EXPECT_EQ("unknown", server({}, R"({"content":"\"owned_by\":\"llamacpp\""})"));
}

TEST(Describe, NeverMakesAnIncompleteRecordComplete) {
  Exchange exchange = asked("/v1/chat/completions");
  exchange.has_response = true;
  exchange.response_headers = {{"Content-Type", "text/event-stream"}};
  exchange.response.raw = "data: [DONE]\n\n";
  Record record;
  record.set_complete(false);
  describe(exchange, &record);
  EXPECT_FALSE(record.complete());
}

TEST(Describe, LeavesUndecodedBytesAlone) {
  Exchange exchange = asked("/v1/chat/completions");
  exchange.undecoded = true;
  Record record;
  describe(exchange, &record);
  EXPECT_EQ("unknown", record.inference().dialect());
}

TEST(OpenAi, ReadsTheOldFunctionCall) {
  OpenAiAnswer answer;
  for (const char* text :
       {R"({"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"{\"a"}}}]})",
        R"({"choices":[{"index":0,"delta":{"function_call":{"arguments":"\":1}"}}}]})"}) {
    auto document = json::Document::parse(text);
    ASSERT_TRUE(document.ok());
    answer.add(JsonView(document.value()));
  }
  EXPECT_FALSE(answer.finished());
  Inference inference;
  answer.write(&inference);
  ASSERT_EQ(1, inference.tool_calls_size());
  EXPECT_EQ("f", inference.tool_calls(0).name());
  EXPECT_EQ("{\"a\":1}", inference.tool_calls(0).arguments());
}

}  // namespace
}  // namespace infertrail
