// `verify`: the offline verifier, with no daemon and no index.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "base/file.h"
#include "cli/commands.h"
#include "trail/encoding.h"
#include "trail/verify.h"

namespace infertrail::cli {
namespace {

constexpr size_t kBarColumns = 30;
constexpr std::chrono::milliseconds kBetweenDraws{100};

// The size that the checkpoint claims, for the progress bar only: nothing is believed here.
std::optional<uint64_t> claimed_size(const std::string& dir) {
  auto note = read_file(dir + "/checkpoint");
  if (!note.ok()) return std::nullopt;   // the verifier reports it
  const size_t begin = note.value().find('\n');
  if (begin == std::string::npos) return std::nullopt;
  const size_t end = note.value().find('\n', begin + 1);
  if (end == std::string::npos) return std::nullopt;
  return trail::canonical_number(note.value().substr(begin + 1, end - begin - 1));
}

void draw(uint64_t done, std::optional<uint64_t> total) {
  if (!total || *total == 0) {
    std::fprintf(stderr, "\rverifying: entry %llu ", static_cast<unsigned long long>(done));
    return;
  }
  const uint64_t shown = std::min(done, *total);
  const size_t filled = static_cast<size_t>(static_cast<double>(shown) / static_cast<double>(*total) * kBarColumns);
  const std::string bar = std::string(filled, '#') + std::string(kBarColumns - filled, '.');
  std::fprintf(stderr, "\rverifying [%s] %llu of %llu ", bar.c_str(), static_cast<unsigned long long>(done),
               static_cast<unsigned long long>(*total));
}

std::string report_text(const trail::VerifyReport& report, const Style& style) {
  return paint(style, Colour::kGreen, "verified") + "\norigin       " + one_line(report.origin) +
         "\nsize         " + std::to_string(report.size) + "\nroot         " + report.root_base64 +
         "\nunpublished  " + std::to_string(report.unpublished) + "\nrecords      " +
         std::to_string(report.records) + "\n" +
         (report.torn_tail.empty() ? "" : "torn tail    " + one_line(report.torn_tail) + "\n");
}

}  // namespace

Result<int> run_verify(Context& context, const Arguments& arguments) {
  const std::string dir = arguments.value("--trail", kDefaultTrail);
  trail::VerifyOptions options;
  options.vkey_file = arguments.value("--vkey");
  options.older_checkpoint = arguments.value("--older");
  trail::VerifyProgress progress;
  const bool watched = isatty(STDERR_FILENO) == 1;
  if (watched) {
    using Clock = std::chrono::steady_clock;
    progress = [total = claimed_size(dir), drawn = Clock::time_point()](uint64_t entries) mutable {
      if (Clock::now() - drawn < kBetweenDraws) return;   // a terminal is slower than the verifier
      drawn = Clock::now();
      draw(entries, total);
    };
  }
  auto report = trail::verify_trail(dir, options, progress);
  if (watched) std::fputs("\r\x1b[K", stderr);
  if (!report.ok()) {
    // Whatever it is, the trail is not proven: never exit code 2.
    std::fprintf(stderr, "infertrail: verification of %s failed: %s\n", one_line(dir).c_str(),
                 one_line(report.error().message).c_str());
    return kFailed;
  }
  print(report_text(report.value(), context.style));
  return kOk;
}

}  // namespace infertrail::cli
