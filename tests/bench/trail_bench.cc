// Durable appends per second of the trail's writer against plain write + fdatasync of the same
// batches on the same disk in the same run; bytes on disk per byte of record. Read the ratios:
// absolute figures of one machine differ by a factor of three between minutes.
//
// Usage:  trail_bench <dir on the disk to measure> [records] [bytes of text per record]
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "trail/verify.h"
#include "trail/writer.h"

namespace {

using infertrail::Record;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "trail_bench: %s\n", message.c_str());
  std::exit(1);
}

// Text of random words: compresses worse than what people write.
std::string words(std::mt19937_64& random, size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    for (uint64_t letters = 2 + random() % 8; letters > 0; letters--)
      text.push_back(static_cast<char>('a' + random() % 26));
    text.push_back(' ');
  }
  return text;
}

std::vector<Record> make_records(size_t count, size_t bytes) {
  std::mt19937_64 random(1);
  std::vector<Record> records(count);
  for (size_t i = 0; i < count; i++) {
    records[i].set_kind("exchange");
    records[i].mutable_time()->set_seconds(1760000000);
    records[i].mutable_inference()->set_model("model-" + std::to_string(i % 5));
    records[i].mutable_inference()->set_output_text(words(random, bytes));
  }
  return records;
}

// Batches of 256 serialized records, as a program without a trail would keep them.
double baseline(const std::string& dir, const std::vector<Record>& records) {
  std::string path = dir + "/baseline";
  infertrail::Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) die("cannot create " + path);
  auto began = Clock::now();
  for (size_t at = 0; at < records.size(); at += 256) {
    std::string batch;
    for (size_t i = at; i < std::min(at + 256, records.size()); i++)
      records[i].AppendToString(&batch);
    if (!infertrail::write_all(fd.get(), batch, path).ok() || ::fdatasync(fd.get()) != 0)
      die("baseline write");
  }
  return seconds_since(began);
}

double run_trail(const std::string& dir, std::vector<Record> records, bool index) {
  infertrail::trail::TrailOptions options;
  options.dir = dir;
  options.origin = "infertrail.bench/log";
  options.index = index;
  auto writer = infertrail::trail::TrailWriter::open(options);
  if (!writer.ok()) die(writer.error().message);
  size_t count = records.size();
  auto began = Clock::now();
  for (Record& record : records)
    if (!writer.value()->append(std::move(record)).ok()) die("append");
  while (writer.value()->wait_sequenced(count - 1, std::chrono::seconds(60)) < count) continue;
  double taken = seconds_since(began);
  auto stats = writer.value()->stats();
  std::printf("  %llu commits\n", static_cast<unsigned long long>(stats.commits));
  if (!writer.value()->close().ok()) die("close");
  return taken;
}

uint64_t bytes_below(const std::string& dir) {
  uint64_t total = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir))
    if (entry.is_regular_file()) total += entry.file_size();
  return total;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: trail_bench <dir> [records] [bytes per record]\n");
    return 2;
  }
  std::string pattern = std::string(argv[1]) + "/trail_bench-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr)
    die("cannot make a directory in " + std::string(argv[1]));
  size_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 100000;
  size_t bytes = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 1000;
  std::vector<Record> records = make_records(count, bytes);
  uint64_t raw = 0;
  for (const Record& record : records) raw += record.ByteSizeLong();
  for (int round = 0; round < 3; round++) {
    double plain = baseline(pattern, records);
    std::string without = pattern + "/no-index" + std::to_string(round),
                with = pattern + "/index" + std::to_string(round);
    double bare = run_trail(without, records, false), indexed = run_trail(with, records, true);
    std::printf("plain %.0f/s | trail %.0f/s = %.2fx of plain | with index %.0f/s = %.2fx\n",
                count / plain, count / bare, plain / bare, count / indexed, plain / indexed);
    std::printf("  bytes per raw byte: segments %.2f, tiles and bundles %.2f, index %.2f\n",
                static_cast<double>(bytes_below(with + "/segments")) / raw,
                static_cast<double>(bytes_below(with + "/tile")) / raw,
                static_cast<double>(bytes_below(with + "/index")) / raw);
    auto began = Clock::now();
    auto report = infertrail::trail::verify_trail(without);
    if (!report.ok()) die(report.error().message);
    std::printf("  verify: %.0f entries/s with all bodies\n", count / seconds_since(began));
  }
  std::error_code ignored;
  std::filesystem::remove_all(pattern, ignored);
  return 0;
}
