// trail_gen writes a trail with the product's own writer: data for the interop tests and for
// looking at.
//
// Usage:  trail_gen <dir> <entries> [origin]
#include <cstdio>
#include <cstdlib>

#include "trail/writer.h"

namespace {

infertrail::Record record_of(uint64_t number) {
  infertrail::Record record;
  record.set_kind("exchange");
  record.set_complete(true);
  record.mutable_time()->set_seconds(1760000000 + static_cast<int64_t>(number / 100));
  record.mutable_inference()->set_dialect("openai");
  record.mutable_inference()->set_operation("chat");
  record.mutable_inference()->set_model("model-" + std::to_string(number % 3));
  auto* message = record.mutable_inference()->add_messages();
  message->set_role("user");
  message->set_content("question number " + std::to_string(number));
  record.mutable_http()->set_status(200);
  return record;
}

int fail(const infertrail::Error& error) {
  std::fprintf(stderr, "trail_gen: %s\n", error.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: trail_gen <dir> <entries> [origin]\n");
    return 2;
  }
  infertrail::trail::TrailOptions options;
  options.dir = argv[1];
  options.origin = argc > 3 ? argv[3] : "infertrail.test/gen";
  options.index = false;
  auto writer = infertrail::trail::TrailWriter::open(options);
  if (!writer.ok()) return fail(writer.error());
  uint64_t entries = std::strtoull(argv[2], nullptr, 10);
  for (uint64_t i = 0; i < entries; i++)
    if (auto taken = writer.value()->append(record_of(i)); !taken.ok()) return fail(taken.error());
  if (auto closed = writer.value()->close(); !closed.ok()) return fail(closed.error());
  std::printf("%llu entries, root %s\n", static_cast<unsigned long long>(entries),
              writer.value()->stats().root_base64.c_str());
  return 0;
}
