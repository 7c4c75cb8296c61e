// Writes a small trail for cli_test.sh through the real writer: cli_trail DIR; or adds two records to
// it, each durable and visible before the next: cli_trail DIR append
#include <cstdio>
#include <string>

#include "trail/writer.h"

using namespace infertrail;

namespace {

Record base(int64_t seconds, const std::string& kind) {
  Record record;
  record.mutable_time()->set_seconds(seconds);
  record.set_kind(kind);
  record.set_complete(true);
  record.mutable_process()->set_pid(4242);
  record.mutable_process()->set_comm("llama-server");
  record.mutable_process()->set_exe("/usr/bin/llama-server");
  return record;
}

Record chat(int64_t seconds, const std::string& model, uint32_t status, const std::string& said) {
  Record record = base(seconds, "exchange");
  record.mutable_flow()->set_client("127.0.0.1:40000");
  record.mutable_flow()->set_server("127.0.0.1:8080");
  record.mutable_principal()->set_kind("api_key");
  record.mutable_principal()->set_id("hmac-sha256:00112233445566778899aabbccddeeff");
  record.mutable_http()->set_method("POST");
  record.mutable_http()->set_path("/v1/chat/completions");
  record.mutable_http()->set_version("1.1");
  record.mutable_http()->set_status(status);
  record.mutable_inference()->set_dialect("openai");
  record.mutable_inference()->set_operation("chat");
  record.mutable_inference()->set_model(model);
  record.mutable_inference()->set_input_tokens(12);
  record.mutable_inference()->set_output_tokens(34);
  auto* message = record.mutable_inference()->add_messages();
  message->set_role("user");
  message->set_content(said);
  record.mutable_request()->set_body("{\"raw\":\"request body\"}");
  record.mutable_request()->set_bytes(22);
  record.set_duration_ms(1234);
  return record;
}

trail::TrailOptions options_for(const std::string& dir) {
  trail::TrailOptions options;
  options.dir = dir;
  options.origin = "cli.test/trail";
  return options;
}

Status append(const std::string& dir) {
  TRY(auto writer, trail::TrailWriter::open(options_for(dir)));
  for (const char* model : {"first-more", "second-more"}) {
    TRY(uint64_t index, writer->append_durable(chat(1767225900, model, 200, "more")));
    if (index < 4) return Error{Code::kCorrupt, dir + ": is not the trail that this program made"};
  }
  return writer->close();
}

Status write(const std::string& dir) {
  const trail::TrailOptions options = options_for(dir);
  TRY(auto writer, trail::TrailWriter::open(options));
  Record start = base(1767225600, "capture.start");   // 2026-01-01T00:00:00Z
  start.mutable_event()->set_what("capture started");
  TRY(uint64_t first, writer->append_durable(start));
  if (first != 0) return Error{Code::kCorrupt, dir + ": is not a new trail"};
  TRY_STATUS(writer->append(chat(1767225660, "qwen", 200, "what is the capital of France?")));
  // Hostile text: an escape sequence, a title change, and a change of direction.
  TRY_STATUS(writer->append(chat(1767225720, "\x1b[31mred\x1b]0;owned\x07", 500, "\x1b[2J\xe2\x80\xaehidden")));
  Record broken = chat(1767225780, "\xe6\xa8\xa1\xe5\x9e\x8b", 0, "cut");
  broken.set_complete(false);
  broken.set_id("90000000-0000-7000-8000-000000000003");   // begins like an index that does not exist
  Gap* gap = broken.add_gaps();
  gap->set_direction("response");
  gap->set_from(100);
  gap->set_to(200);
  gap->set_reason("ring_full");
  (*broken.mutable_mask()->mutable_counts())["email"] = 2;
  TRY_STATUS(writer->append(broken));
  return writer->close();
}

}  // namespace

int main(int argc, char** argv) {
  const bool more = argc == 3 && argv[2] == std::string("append");
  if (argc != 2 && !more) return std::fputs("usage: cli_trail DIR [append]\n", stderr) < 0 ? 1 : 2;
  auto status = more ? append(argv[1]) : write(argv[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "cli_trail: %s\n", status.error().message.c_str());
  return 1;
}
