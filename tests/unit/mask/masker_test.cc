#include "mask/masker.h"

#include "unit/mask/mask_testing.h"

namespace infertrail {
namespace {

TEST(Masker, JsonStringsAreMaskedAndTheRestIsUntouched) {
  EXPECT_EQ(masked_body(
                R"( { "a":"mail jane@example.com, joe@example.com, JANE@example.com" , "n":1.50})"),
            R"( { "a":"mail [[EMAIL:1]], [[EMAIL:2]], [[EMAIL:1]]" , "n":1.50})");
}

TEST(Masker, EscapesCannotHideAValue) {
  EXPECT_EQ(masked_body(R"({"a":"jane\u0040example.com","b":"\u0034111\u00201111 1111 1111\n"})"),
            R"({"a":"[[EMAIL:1]]","b":"[[CARD:1]]\n"})");
  EXPECT_EQ(masked_body(R"({"a":"http:\/\/10.1.2.3\/x","b":"\ud83d\ude00jane@example.com\"q\""})"),
            R"({"a":"http:\/\/[[IP:1]]\/x","b":"\ud83d\ude00[[EMAIL:1]]\"q\""})");
}

TEST(Masker, CardAsNumberBecomesAString) {
  EXPECT_EQ(masked_body(R"({"card":4111111111111111,"n":[5555555555554444, 17],"t":1795202619})"),
            R"({"card":"[[CARD:1]]","n":["[[CARD:2]]", 17],"t":1795202619})");
}

TEST(Masker, NamesOfMembersAreMasked) {
  EXPECT_EQ(masked_body(R"({"jane@example.com":{"x":1},"plain":2})"),
            R"({"[[EMAIL:1]]":{"x":1},"plain":2})");
}

TEST(Masker, JsonInsideStringsIsReadAsJson) {
  std::string out = masked_body(
      R"({"arguments":"{\"to\":\"jane\\u0040example.com\",\"card\":4111111111111111,\"t\":\"a\\njane@example.com\"}"})");
  EXPECT_EQ(
      out,
      R"({"arguments":"{\"to\":\"[[EMAIL:1]]\",\"card\":\"[[CARD:1]]\",\"t\":\"a\\n[[EMAIL:1]]\"}"})");
  auto outer = json::Document::parse(out);
  ASSERT_TRUE(outer.ok());
  EXPECT_TRUE(
      is_json(outer.value().string(*outer.value().find(outer.value().root(), "arguments"))));
  std::string twice =
      R"({"a":"{\"b\":\"{\\\"c\\\":4111111111111111,\\\"d\\\":\\\"x@example.com\\\"}\"}"})";
  EXPECT_EQ(masked_body(twice),
            R"({"a":"{\"b\":\"{\\\"c\\\":\\\"[[CARD:1]]\\\",\\\"d\\\":\\\"[[EMAIL:1]]\\\"}\"}"})");
}

TEST(Masker, MembersNamedLikeSecretsAreMaskedWhole) {
  EXPECT_EQ(
      masked_body(R"({"password":"a b c","ssn":460899847,"token":"Hello","api_key":"zz"})"),
      R"({"password":"[[SECRET:1]]","ssn":"[[US_SSN:1]]","token":"Hello","api_key":"[[SECRET:2]]"})");
}

TEST(Masker, OneValueHasOneNumberInAllFields) {
  Record record =
      with_body(R"({"content":"to joe@example.com and jane@example.com"})", "application/json");
  record.mutable_http()->set_path("/v1/x?user=jane%40example.com&key=abc&n=1");
  record.mutable_request()->set_body("ask jane@example.com");
  record.mutable_inference()->add_messages()->set_content("ask jane@example.com");
  record.mutable_inference()->set_output_text("to joe@example.com and jane@example.com");
  record = masked(record);
  EXPECT_EQ(record.http().path(), "/v1/x?user=[[EMAIL:1]]&key=[[CREDENTIAL:1]]&n=1");
  EXPECT_EQ(record.request().body(), "ask [[EMAIL:1]]");
  EXPECT_EQ(record.response().body(), R"({"content":"to [[EMAIL:2]] and [[EMAIL:1]]"})");
  EXPECT_EQ(record.inference().messages(0).content(), "ask [[EMAIL:1]]");
  EXPECT_EQ(record.inference().output_text(), "to [[EMAIL:2]] and [[EMAIL:1]]");
  EXPECT_EQ(count(record, "EMAIL"), 4u) << "path, request, twice in the answer; not inference";
  EXPECT_EQ(count(record, "CREDENTIAL"), 1u);
}

TEST(Masker, EveryTextOfTheInferenceIsMasked) {
  Record record;
  Inference& i = *record.mutable_inference();
  const std::string mail = "jane@example.com";
  auto& message = *i.add_messages();
  message.set_content(mail);
  message.set_name(mail);
  message.set_reasoning_text(mail);
  message.add_tool_calls()->set_arguments(R"({"to":"jane\u0040example.com"})");
  i.set_output_text(mail);
  i.set_reasoning_text(mail);
  i.add_tool_calls()->set_arguments(R"({"card":4111111111111111})");
  i.set_error(mail);
  i.add_tools(mail);
  i.set_note(mail);
  i.set_model(mail);
  record.add_gaps()->set_note(mail);
  (*record.mutable_event()->mutable_facts())["who"] = mail;
  record = masked(record);
  EXPECT_EQ(record.SerializeAsString().find("jane"), std::string::npos);
  EXPECT_EQ(record.inference().tool_calls(0).arguments(), R"({"card":"[[CARD:1]]"})");
  EXPECT_EQ(record.inference().tools(0), "[[EMAIL:1]]");
  EXPECT_EQ(record.event().facts().at("who"), "[[EMAIL:1]]");
  EXPECT_EQ(record.gaps(0).note(), "[[EMAIL:1]]");
}

TEST(Masker, CredentialHeadersAreReplacedWhole) {
  const std::tuple<const char*, const char*, const char*> rows[] = {
      {"Authorization", "Bearer sk-abc", "Bearer [[CREDENTIAL:1]]"},
      {"proxy-authorization", "Basic YTpi", "Basic [[CREDENTIAL:1]]"},
      {"Authorization", "my own scheme", "[[CREDENTIAL:1]]"},
      {"X-Api-Key", "k", "[[CREDENTIAL:1]]"},
      {"api-key", "k", "[[CREDENTIAL:1]]"},
      {"x-goog-api-key", "k", "[[CREDENTIAL:1]]"},
      {"Cookie", "a=b; c=d", "[[CREDENTIAL:1]]"},
      {"Set-Cookie", "sid=1; Path=/", "[[CREDENTIAL:1]]"},
      {"X-Auth-Token", "t", "[[CREDENTIAL:1]]"},
      {"X-My-Secret", "t", "[[CREDENTIAL:1]]"},
      {"x-ratelimit-remaining-tokens", "149984", "149984"},
      {"Host", "127.0.0.1:8080", "127.0.0.1:8080"},
      {"X-Forwarded-For", "203.0.113.7", "[[IP:1]]"},
      {"From", "jane@example.com", "[[EMAIL:1]]"},
      {"Referer", "https://x.example/?q=jane%40example.com", "https://x.example/?q=[[EMAIL:1]]"},
      {"User-Agent", "Mozilla/5.0 Chrome/120.0.0.0", "Mozilla/5.0 Chrome/120.0.0.0"}};
  for (auto [name, value, expected] : rows) {
    Record record;
    for (auto* headers : {record.mutable_http()->mutable_request_headers(),
                          record.mutable_http()->mutable_response_headers()}) {
      auto* header = headers->Add();
      header->set_name(name);
      header->set_value(value);
    }
    record = masked(record);
    EXPECT_EQ(record.http().request_headers(0).value(), expected) << name;
    EXPECT_EQ(record.http().response_headers(0).value(), expected) << name;
    EXPECT_EQ(record.http().request_headers(0).name(), name);
  }
}

TEST(Masker, NothingThatAClientWroteIsLeftOut) {
  Record record;
  record.mutable_http()->set_method("jane@example.com");
  record.mutable_http()->set_version("1.1 4111111111111111");
  Header* header = record.mutable_http()->add_request_headers();
  header->set_name("X-jane@example.com");
  header->set_value("x");
  record.mutable_request()->set_content_type("a/b; x=jane@example.com");
  record.mutable_request()->set_content_encoding("sk-proj-Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1");
  record.mutable_response()->set_content_type("text/plain; owner=jane@example.com");
  const std::string after = masked(record).DebugString();
  for (const char* secret : {"jane@", "4111111111111111", "sk-proj-Zz9"})
    EXPECT_EQ(after.find(secret), std::string::npos) << secret << " in " << after;
}

TEST(Masker, CommandLinesAreReadByTheirFlags) {
  const std::pair<const char*, const char*> rows[] = {
      {"llama-server --api-key hunter2 --port 8080",
       "llama-server --api-key [[CREDENTIAL:1]] --port 8080"},
      {"llama-server --api-key=hunter2 -c 4096", "llama-server --api-key=[[CREDENTIAL:1]] -c 4096"},
      {"x --api-key-file /k --ssl-key-file /s", "x --api-key-file /k --ssl-key-file /s"},
      {"x --token abc --password p --hf-token q",
       "x --token [[CREDENTIAL:1]] --password [[CREDENTIAL:2]] --hf-token [[CREDENTIAL:3]]"},
      {"curl -H Authorization: Bearer abc -d x http://h/",
       "curl -H Authorization: Bearer [[CREDENTIAL:1]] -d x http://h/"},
      {"sh -c curl -H 'Authorization: Bearer abc' http://h/",
       "sh -c curl -H 'Authorization: Bearer [[CREDENTIAL:1]]' http://h/"},
      {"curl -H X-Api-Key:abc http://h/", "curl -H X-Api-Key:[[CREDENTIAL:1]] http://h/"},
      {"curl -H Cookie: a=b; c=d https://h/", "curl -H Cookie: [[CREDENTIAL:1]] https://h/"},
      {"curl -u bob:pw http://h/", "curl -u [[CREDENTIAL:1]] http://h/"},
      {"git clone https://bob:pw@example.com/r", "git clone https://[[SECRET:1]]@example.com/r"},
      {"env OPENAI_API_KEY=abc HF_TOKEN=def PATH=/bin x",
       "env OPENAI_API_KEY=[[CREDENTIAL:1]] HF_TOKEN=[[CREDENTIAL:2]] PATH=/bin x"},
      {"x --max-tokens 5 --tokenizer /t --host 0.0.0.0 --user bob",
       "x --max-tokens 5 --tokenizer /t --host 0.0.0.0 --user bob"},
      {"x --mail jane@example.com", "x --mail [[EMAIL:1]]"},
      {"curl https://h/v1?key=abc&mail=jane@example.com -o x",
       "curl https://h/v1?key=[[CREDENTIAL:1]]&mail=[[EMAIL:1]] -o x"},
      {"x --token", "x --token"},
      {"x --token --port 1", "x --token --port 1"}};
  for (auto [line, expected] : rows) {
    Record record;
    record.mutable_process()->set_cmdline(line);
    record.mutable_peer()->set_cmdline(line);
    record = masked(record);
    EXPECT_EQ(record.process().cmdline(), expected);
    EXPECT_EQ(record.peer().cmdline(), expected);
    EXPECT_EQ(masked(record).process().cmdline(), expected) << "a second time";
  }
}

TEST(Masker, OtherBodiesAreScannedAsBytes) {
  EXPECT_EQ(masked_body("a=jane%40example.com&b=4111+1111+1111+1111",
                        "application/x-www-form-urlencoded"),
            "a=[[EMAIL:1]]&b=[[CARD:1]]");
  EXPECT_EQ(masked_body("--x\r\n\r\njane@example.com\r\n--x--", "multipart/form-data; boundary=x"),
            "--x\r\n\r\n[[EMAIL:1]]\r\n--x--");
  Record record;
  record.mutable_request()->set_body_binary(std::string("\xff\x00 jane@example.com \x80", 21));
  EXPECT_EQ(masked(record).request().body_binary(), std::string("\xff\x00 [[EMAIL:1]] \x80", 16));
}

TEST(Masker, BrokenJsonIsScannedWithAndWithoutItsEscapes) {
  EXPECT_EQ(masked_body(R"({"a":"jane@example.com","b":"4111 1111 1111 1111","c":"x)"),
            R"({"a":"[[EMAIL:1]]","b":"[[CARD:1]]","c":"x)");
  EXPECT_EQ(masked_body(R"({"a":"jane\u0040example.com","b":"cut)"),
            R"({"a":"[[EMAIL:1]]","b":"cut)");
  EXPECT_EQ(masked_body(R"({"a":"{\"m\":\"jane\\u0040example.com\"}","b":"cut)"),
            R"({"a":"{\"m\":\"[[EMAIL:1]]\"}","b":"cut)");
  EXPECT_EQ(masked_body(R"({"a":"{\"password\": \"hunter2\"}","b":"cut)"),
            R"({"a":"{\"password\": \"[[SECRET:1]]\"}","b":"cut)");
}

TEST(Masker, WhatMayGoOnAfterACutIsMasked) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"a":"pay 4111 1111 11)", R"({"a":"pay [[CARD:1]])"},
      {R"({"a":"pay 4111-1111-)", R"({"a":"pay [[CARD:1]])"},
      {R"({"a":"mail jane.doe@exam)", R"({"a":"mail [[EMAIL:1]])"},
      {R"({"a":"mail jane.doe@)", R"({"a":"mail [[EMAIL:1]])"},
      {R"({"a":"key sk-abc1)", R"({"a":"key [[API_KEY:1]])"},
      {R"({"a":"ssn 460-89-98)", R"({"a":"ssn [[US_SSN:1]])"},
      {R"({"password": "hu)", R"({"password": "[[SECRET:1]])"}};
  for (auto [body, expected] : rows) {
    Record cut = masked(with_body(body, "application/json", true));
    EXPECT_EQ(cut.response().body(), expected);
    EXPECT_EQ(cut.mask().not_run_size(), 1) << body;
    EXPECT_EQ(masked_body(body, "application/json", false), body) << "not cut: not masked";
  }
  EXPECT_EQ(masked_body(R"({"a":"year 2024, 12 apples)", "application/json", true),
            R"({"a":"year 2024, 12 apples)");
}

TEST(Masker, CompressedBytesAreNamedAsNotRun) {
  Record record;
  record.mutable_request()->set_body_binary("\x1f\x8b\x08 whatever");
  EXPECT_EQ(masked(record).mask().not_run(0), "all: request is gzip and was not decoded");
}

TEST(Masker, ChosenDetectorsOnly) {
  auto cards = Masker::make({"CARD"});
  ASSERT_TRUE(cards.ok());
  Record record = with_body("jane@example.com 4111111111111111", "text/plain");
  cards.value().mask(&record);
  EXPECT_EQ(record.response().body(), "jane@example.com [[CARD:1]]");
  EXPECT_FALSE(Masker::make({"CARDS"}).ok());
}

TEST(Masker, TokenListsAreReadAsOneText) {
  EXPECT_EQ(
      masked_body(
          R"({"logprobs":{"content":[{"token":"mail jane@"},{"token":"example.com"},{"token":"!"}]}})"),
      R"({"logprobs":{"content":[{"token":"mail [[EMAIL:1]]"},{"token":""},{"token":"!"}]}})");
  EXPECT_EQ(masked_body(R"({"tokens":["4111"," 1111"," 1111"," 1111"]})"),
            R"({"tokens":["[[CARD:1]]","","",""]})");
}

TEST(Masker, CredentialsRepeatedInBodiesGoToo) {
  Record record = with_body(R"({"error":"bad key opaque-value-x","n":1})", "application/json");
  auto* header = record.mutable_http()->add_request_headers();
  header->set_name("Authorization");
  header->set_value("Bearer opaque-value-x");
  record.mutable_inference()->set_error("bad key opaque-value-x");
  record = masked(record);
  EXPECT_EQ(record.response().body(), R"({"error":"bad key [[CREDENTIAL:1]]","n":1})");
  EXPECT_EQ(record.inference().error(), "bad key [[CREDENTIAL:1]]");
  EXPECT_EQ(count(record, "CREDENTIAL"), 2u);
}

TEST(Masker, OverlapsBecomeOnePlace) {
  EXPECT_EQ(masked_body("password: jane@example.com", "text/plain"), "password: [[SECRET:1]]");
  EXPECT_EQ(masked_body("token=sk-0123456789abcdefghij.", "text/plain"), "token=[[API_KEY:1]].");
}

}  // namespace
}  // namespace infertrail
