// mask_bench: speed of masking chat JSON and a chat stream, as MB/s and as a ratio to copying and
// hashing (SHA-256) the same bytes in the same run. Not a test: numbers for docs and for diffs.
#include <infertrail/record.pb.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "base/crypto.h"
#include "mask/masker.h"

namespace infertrail {
namespace {

std::string words(size_t bytes) {
  static constexpr const char* kWords[] = {"the ",     "model ",  "answers ",  "with 42 ",
                                           "tokens, ", "about ",  "10:30 ",    "in\\n",
                                           "a ",       "longer ", "sentence. "};
  std::string out;
  for (size_t i = 0; out.size() < bytes; i++) out += kWords[i * 7 % std::size(kWords)];
  return out;
}

std::string chat_json(size_t bytes) {
  std::string out = R"({"model":"m","messages":[)";
  while (out.size() < bytes)
    out += R"({"role":"user","content":")" + words(900) + R"(write to jane.doe@example.com"},)";
  return out + R"({"role":"user","content":"end"}]})";
}

std::string chat_stream(size_t bytes) {
  std::string out;
  static constexpr const char* kDeltas[] = {"Hello",    " Jane",     ",",  " mail",
                                            " jane@ex", "ample.com", " ok"};
  for (size_t i = 0; out.size() < bytes; i++)
    out +=
        std::string(R"(data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":")") +
        kDeltas[i % std::size(kDeltas)] +
        R"("}}],"created":1795202619,"id":"chatcmpl-UOHvrCbLu6RWVcKJXFa3rJENklMmniYy","model":"m"})" +
        "\n\n";
  return out + "data: [DONE]\n\n";
}

template <typename Work>
double seconds_of(int rounds, Work work) {
  work();  // warm caches; not timed
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; i++) work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / rounds;
}

void measure(const char* name, const std::string& body, Masker* masker) {
  size_t sink = 0;
  double base = seconds_of(10, [&] {
    std::string copy = body;
    sink += static_cast<unsigned char>(sha256(copy)[0]);
  });
  double mask = seconds_of(10, [&] {
    Record record;
    record.mutable_response()->set_body(body);
    masker->mask(&record);
    sink += record.response().body().size();
  });
  double megabytes = static_cast<double>(body.size()) / 1e6;
  std::printf("%-12s %6.2f MB  copy+sha256 %7.1f MB/s  mask %7.1f MB/s  ratio %.3f  (%zu)\n", name,
              megabytes, megabytes / base, megabytes / mask, base / mask, sink % 10);
}

int run() {
  auto masker = Masker::make({});
  if (!masker.ok()) {
    std::fprintf(stderr, "%s\n", masker.error().message.c_str());
    return 1;
  }
  measure("chat 4 KB", chat_json(4000), &masker.value());
  measure("chat 4 MB", chat_json(4000000), &masker.value());
  measure("sse 20 KB", chat_stream(20000), &masker.value());
  measure("sse 4 MB", chat_stream(4000000), &masker.value());
  return 0;
}

}  // namespace
}  // namespace infertrail

int main() {
  return infertrail::run();
}
