#include "cli/log_command.h"

#include <gtest/gtest.h>

namespace infertrail::cli {
namespace {

Record exchange() {
  Record record;
  record.set_index(17);
  record.set_kind("exchange");
  record.set_complete(true);
  record.mutable_time()->set_seconds(1767225600 + 12 * 3600);   // noon: 2026-01-01 in (almost) every zone
  record.mutable_flow()->set_client("127.0.0.1:40000");
  record.mutable_process()->set_pid(42);
  record.mutable_process()->set_comm("llama-server");
  record.mutable_inference()->set_model("qwen");
  record.mutable_inference()->set_operation("chat");
  record.mutable_inference()->set_input_tokens(12);
  record.mutable_inference()->set_output_tokens(340);
  record.mutable_http()->set_status(200);
  record.set_duration_ms(1500);
  return record;
}

std::string line_of(const Record& record) {
  Table table(log_columns(), {});
  table.add(log_row(record));
  const std::string text = table.text();
  return text.substr(text.find('\n') + 1);
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The cell under a title.
std::string cell(const Record& record, const std::string& title) {
  const auto columns = log_columns();
  const Row row = log_row(record);
  EXPECT_EQ(row.size(), columns.size());
  for (size_t i = 0; i < columns.size(); i++)
    if (title == columns[i].title) return row[i].text;
  ADD_FAILURE() << "no column " << title;
  return "";
}

TEST(Log, AnExchangeInOneRow) {
  const Record record = exchange();
  EXPECT_EQ(cell(record, "#"), "17");
  EXPECT_EQ(cell(record, "!"), "");
  EXPECT_EQ(cell(record, "client"), "127.0.0.1:40000");
  EXPECT_EQ(cell(record, "process"), "llama-server[42]");
  EXPECT_EQ(cell(record, "model"), "qwen");
  EXPECT_EQ(cell(record, "operation"), "chat");
  EXPECT_EQ(cell(record, "status"), "200");
  EXPECT_EQ(cell(record, "tokens"), "12/340");
  EXPECT_EQ(cell(record, "took"), "1.50s");
  EXPECT_EQ(cell(record, "masked"), "-");
}

TEST(Log, WhatIsMissingIsMarked) {
  Record record = exchange();
  record.set_complete(false);
  EXPECT_EQ(cell(record, "!"), "!");
  record.mutable_http()->set_status(0);
  EXPECT_EQ(cell(record, "status"), "-");
}

TEST(Log, MaskedCountsAreSortedAndSkippedDetectorsAreSaid) {
  Record record = exchange();
  (*record.mutable_mask()->mutable_counts())["iban"] = 1;
  (*record.mutable_mask()->mutable_counts())["email"] = 2;
  EXPECT_EQ(cell(record, "masked"), "email:2 iban:1");
  record.mutable_mask()->add_not_run("request: too long");
  EXPECT_EQ(cell(record, "masked"), "email:2 iban:1 (not all run)");
}

TEST(Log, PrincipalsAreShort) {
  Record record = exchange();
  EXPECT_EQ(cell(record, "principal"), "-");
  record.mutable_principal()->set_kind("api_key");
  record.mutable_principal()->set_id("hmac-sha256:00112233445566778899aabbccddeeff");
  EXPECT_EQ(cell(record, "principal"), "key 0011223344");
  record.mutable_principal()->set_kind("process");
  record.mutable_principal()->set_id("alice");
  EXPECT_EQ(cell(record, "principal"), "alice");
}

TEST(Log, APeerOfThisHostIsNamed) {
  Record record = exchange();
  record.mutable_peer()->set_pid(7);
  record.mutable_peer()->set_exe("/usr/bin/curl");
  EXPECT_EQ(cell(record, "client"), "curl[7]");
}

TEST(Log, EventsSayWhatHappened) {
  Record record;
  record.set_kind("target");
  record.mutable_event()->set_what("target add");
  (*record.mutable_event()->mutable_facts())["selector"] = "port=80";
  EXPECT_EQ(cell(record, "operation"), "target");
  EXPECT_EQ(cell(record, "model"), "target add port=80");
  EXPECT_EQ(cell(record, "!"), "");   // not complete, but no traffic either
}

TEST(Log, CallsThatAreNoInferenceShowTheirPath) {
  Record record = exchange();
  record.mutable_inference()->set_operation("unknown");
  record.mutable_http()->set_method("GET");
  record.mutable_http()->set_path("/health?verbose=1");
  EXPECT_EQ(cell(record, "operation"), "GET /health");
}

TEST(Log, HostileNamesDoNotReachTheTerminal) {
  Record record = exchange();
  record.mutable_inference()->set_model("\x1b]0;owned\x07\n");
  record.mutable_process()->set_comm("a\rb");
  const std::string line = line_of(record);
  for (char c : line.substr(0, line.size() - 1)) EXPECT_GE(static_cast<unsigned char>(c), 0x20u);
  EXPECT_TRUE(has(line, "\\x1b]0;owned\\x07\\n"));
  EXPECT_TRUE(has(line, "a\\rb[42]"));
}

TEST(Log, OnEveryTerminalALineFitsAndSaysTheMostImportant) {
  Record record = exchange();
  record.set_index(123456);
  (*record.mutable_mask()->mutable_counts())["CREDENTIAL"] = 2;
  (*record.mutable_mask()->mutable_counts())["EMAIL"] = 2;
  record.mutable_principal()->set_kind("process");
  record.mutable_principal()->set_id("a-service-account");
  record.set_complete(false);
  for (size_t width = 80; width < 200; width += 5) {
    Table table(log_columns(), {false, width});
    table.add(log_row(record));
    const std::string text = table.text();
    const std::string line = text.substr(text.find('\n') + 1);
    EXPECT_LE(display_width(line.substr(0, line.size() - 1)), width) << line;
    for (const char* part : {"123456", "2026-01-01", " ! ", "qwen", "200", "llama-serve"})
      EXPECT_TRUE(has(line, part)) << width << " " << part << "\n" << line;
  }
}

TEST(Log, FlagsBecomeTheQuery) {
  Timestamp now;
  now.set_seconds(1'000'000'000);
  Arguments arguments;
  arguments.values = {{"--since", "10m"}, {"--limit", "5"}, {"--model", "m"}, {"--exe", "e"}, {"--pid", "3"},
                      {"--status", "500"}, {"--kind", "k"}, {"--grep", "g"}, {"--id", "i"}, {"--follow", ""}};
  auto query = log_query(arguments, now);
  ASSERT_TRUE(query.ok()) << query.error().message;
  EXPECT_EQ(query.value().since().seconds(), 1'000'000'000 - 600);
  EXPECT_FALSE(query.value().has_until());
  EXPECT_EQ(query.value().ShortDebugString(),
            "limit: 5 since { seconds: 999999400 } model: \"m\" exe: \"e\" pid: 3 status: 500 kind: \"k\" "
            "grep: \"g\" id: \"i\" follow: true summary: true");
  arguments.values["--json"] = "";
  EXPECT_FALSE(log_query(arguments, now).value().summary());
}

TEST(Log, BadFlagsAreNamed) {
  const std::map<std::string, std::string> bad = {
      {"--since", "soon"}, {"--until", "2026-02-30"}, {"--limit", "0"}, {"--pid", "x"}, {"--status", "42"}};
  for (const auto& [flag, value] : bad) {
    Arguments arguments;
    arguments.values[flag] = value;
    auto query = log_query(arguments, time_now());
    ASSERT_FALSE(query.ok()) << flag;
    EXPECT_EQ(query.error().code, Code::kInvalid) << flag;
    EXPECT_TRUE(has(query.error().message, flag)) << query.error().message;
  }
  Arguments arguments;
  arguments.values = {{"--since", "1h"}, {"--until", "2h"}};
  EXPECT_FALSE(log_query(arguments, time_now()).ok());
}

}  // namespace
}  // namespace infertrail::cli
