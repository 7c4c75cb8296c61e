#include "cli/record_text.h"

#include <gtest/gtest.h>

namespace infertrail::cli {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

Gap gap(const std::string& reason, uint64_t from, uint64_t to) {
  Gap out;
  out.set_direction("response");
  out.set_reason(reason);
  out.set_from(from);
  out.set_to(to);
  return out;
}

Record conversation() {
  Record record;
  record.set_index(3);
  record.set_id("0199a3b4-0000-7000-8000-000000000000");
  record.set_kind("exchange");
  record.set_complete(true);
  record.mutable_http()->set_method("POST");
  record.mutable_http()->set_path("/v1/chat/completions");
  record.mutable_http()->set_version("1.1");
  record.mutable_http()->set_status(200);
  Header* header = record.mutable_http()->add_request_headers();
  header->set_name("User-Agent");
  header->set_value("curl/8");
  Inference* call = record.mutable_inference();
  call->set_operation("chat");
  call->set_model("qwen");
  Message* message = call->add_messages();
  message->set_role("user");
  message->set_content("first line\nsecond line");
  call->set_output_text("the answer");
  call->set_reasoning_text("the thought");
  ToolCall* tool = call->add_tool_calls();
  tool->set_name("lookup");
  tool->set_arguments("{\"city\":\"Paris\"}");
  record.mutable_request()->set_body("{\"secret\":\"raw body\"}");
  record.mutable_request()->set_bytes(21);
  return record;
}

TEST(RecordText, GapsAreSentences) {
  EXPECT_EQ(gap_text(gap("ring_full", 100, 200)),
            "response: bytes 100 to 200 are missing (100 bytes): the kernel had no room for them; the daemon was "
            "too slow");
  EXPECT_EQ(gap_text(gap("pre_attach", 0, UINT64_MAX)),
            "response: everything from byte 0 on is missing: the connection is older than the recording");
  EXPECT_EQ(gap_text(gap("", 5, 5)), "response: something is missing at byte 5");
  Gap noted = gap("a_new_reason", 0, 1);
  noted.set_note("seen twice");
  EXPECT_EQ(gap_text(noted), "response: bytes 0 to 1 are missing (1 bytes): a_new_reason; seen twice");
}

TEST(RecordText, EveryReasonOfTheDaemonHasWords) {
  for (const char* reason : {"ring_full", "fault", "pre_attach", "lost_segment", "daemon_down", "body_limit",
                             "memory_limit", "connection_reset", "probe_missed"})
    EXPECT_FALSE(has(gap_text(gap(reason, 0, 1)), reason)) << reason;
}

TEST(RecordText, SaysWhatWasSaid) {
  const std::string text = record_text(conversation(), {}, false);
  for (const char* part : {"record 3  exchange\n", "  id          0199a3b4", "request: POST /v1/chat/completions HTTP/1.1",
                           "  User-Agent: curl/8\n", "answer: status 200", "  [user]\n    first line\n    second line\n",
                           "output\n  the answer\n", "reasoning\n  the thought\n",
                           "calls lookup({\"city\":\"Paris\"})", "request body: 21 bytes"})
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  EXPECT_FALSE(has(text, "NOT COMPLETE"));
  EXPECT_FALSE(has(text, "raw body"));
  EXPECT_TRUE(has(record_text(conversation(), {}, true), "  {\"secret\":\"raw body\"}\n"));
}

TEST(RecordText, AnIncompleteRecordSaysSoAndWhy) {
  Record record = conversation();
  record.set_complete(false);
  EXPECT_TRUE(has(record_text(record, {}, false), "the record does not say what"));
  *record.add_gaps() = gap("fault", 1, 9);
  const std::string text = record_text(record, {}, false);
  EXPECT_TRUE(has(text, "record 3  exchange  NOT COMPLETE"));
  EXPECT_TRUE(has(text, "missing\n  ! response: bytes 1 to 9"));
  EXPECT_FALSE(has(text, "does not say what"));
}

TEST(RecordText, NothingRecordedIsRaw) {
  // Every string of the record, set to an attack.
  const std::string attack = "a\x1b[2J\x07" "b\xc2\x9b";
  Record record = conversation();
  record.set_id(attack);
  record.set_kind(attack);
  record.mutable_http()->set_path(attack);
  record.mutable_http()->mutable_request_headers(0)->set_name(attack);
  record.mutable_http()->mutable_request_headers(0)->set_value(attack);
  record.mutable_process()->set_exe(attack);
  record.mutable_process()->set_cmdline(attack);
  record.mutable_flow()->set_client(attack);
  record.mutable_principal()->set_kind(attack);
  record.mutable_verdict()->set_action(attack);
  record.mutable_event()->set_what(attack);
  (*record.mutable_event()->mutable_facts())[attack] = attack;
  (*record.mutable_mask()->mutable_counts())[attack] = 1;
  record.mutable_mask()->add_not_run(attack);
  Inference* call = record.mutable_inference();
  call->set_model(attack);
  call->set_error(attack);
  call->set_note(attack);
  call->set_output_text(attack);
  call->set_reasoning_text(attack);
  call->mutable_messages(0)->set_role(attack);
  call->mutable_messages(0)->set_content(attack);
  call->mutable_messages(0)->set_reasoning_text(attack);
  call->mutable_tool_calls(0)->set_name(attack);
  call->mutable_tool_calls(0)->set_arguments(attack);
  record.mutable_request()->set_body(attack);
  record.mutable_request()->set_content_type(attack);
  Gap* missing = record.add_gaps();
  missing->set_note(attack);
  const std::string text = record_text(record, {}, true);
  for (char c : text) ASSERT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << text;
  EXPECT_FALSE(has(text, "\xc2\x9b"));
  EXPECT_TRUE(has(text, "a\\x1b[2J\\x07b\\u009b"));
}

TEST(RecordText, AHeaderCannotForgeALine) {
  Record record = conversation();
  record.mutable_http()->mutable_request_headers(0)->set_value("x\n  Forged: yes");
  EXPECT_TRUE(has(record_text(record, {}, true), "  User-Agent: x\\n  Forged: yes\n"));
}

TEST(RecordText, BinaryBodiesAreHex) {
  Record record = conversation();
  record.mutable_response()->set_body_binary(std::string("\x00\xff", 2));
  record.mutable_response()->set_bytes(2);
  EXPECT_TRUE(has(record_text(record, {}, true), "not text; in hex:\n  00ff\n"));
}

}  // namespace
}  // namespace infertrail::cli
