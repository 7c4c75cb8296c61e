// What the trail's tests share: a directory that goes away, records, and a disk that can fail.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/file.h"
#include "trail/reader.h"
#include "trail/verify.h"
#include "trail/writer.h"

namespace infertrail::trail {

// In memory where the system has that: these tests sync thousands of times, and what a sync is
// worth is tested by failing it, not by the disk below.
class TempDir {
 public:
  TempDir() {
    bool memory = ::access("/dev/shm", W_OK) == 0;
    std::string base = memory ? "/dev/shm" : std::filesystem::temp_directory_path().string();
    std::string pattern = base + "/infertrail-XXXXXX";
    IT_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string trail() const { return path_ + "/trail"; }

 private:
  std::string path_;
};

inline Record make_record(uint64_t number, size_t text_bytes = 40) {
  Record record;
  record.set_kind("exchange");
  record.set_complete(true);
  record.mutable_time()->set_seconds(1760000000 + static_cast<int64_t>(number));
  record.mutable_inference()->set_model(number % 2 ? "odd-model" : "even-model");
  record.mutable_inference()->set_output_text("answer " + std::to_string(number) + " " +
                                              std::string(text_bytes, 'x'));
  record.mutable_process()->set_exe(number % 3 ? "/usr/bin/llama-server" : "/opt/vllm");
  record.mutable_process()->set_pid(static_cast<uint32_t>(1000 + number % 5));
  record.mutable_http()->set_status(number % 7 ? 200 : 500);
  return record;
}
inline std::string text_of(uint64_t number, size_t text_bytes = 40) {
  return make_record(number, text_bytes).inference().output_text();
}

inline TrailOptions options_of(const std::string& dir) {
  TrailOptions options;
  options.dir = dir;
  options.origin = "infertrail.test/node1";
  options.boot_id = "11111111-2222-3333-4444-555555555555";
  options.retry_first = std::chrono::milliseconds(1);
  options.retry_longest = std::chrono::milliseconds(4);
  options.close_patience = std::chrono::milliseconds(300);
  return options;
}

#define ASSERT_OK(expression)                                 \
  do {                                                        \
    auto&& assert_ok = (expression);                          \
    ASSERT_TRUE(assert_ok.ok()) << assert_ok.error().message; \
  } while (false)
#define EXPECT_OK(expression)                                 \
  do {                                                        \
    auto&& expect_ok = (expression);                          \
    EXPECT_TRUE(expect_ok.ok()) << expect_ok.error().message; \
  } while (false)

// Writes records first..first+count-1 and closes.
inline Status write_records(const TrailOptions& options, uint64_t first, uint64_t count) {
  TRY(auto writer, TrailWriter::open(options));
  for (uint64_t i = first; i < first + count; i++) TRY_STATUS(writer->append(make_record(i)));
  return writer->close();
}

// Each record in a commit of its own.
inline Status write_singly(const TrailOptions& options, uint64_t first, uint64_t count) {
  TRY(auto writer, TrailWriter::open(options));
  for (uint64_t i = first; i < first + count; i++) {
    TRY(uint64_t index, writer->append_durable(make_record(i)));
    (void)index;
  }
  return writer->close();
}

inline void store(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}
inline std::string load(const std::string& path) {
  auto bytes = read_file(path);
  IT_CHECK(bytes.ok());
  return bytes.value();
}
inline void copy_tree(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive);
  std::filesystem::permissions(to, std::filesystem::perms::owner_all);
}

// Every regular file below `dir`, as relative paths, sorted.
inline std::vector<std::string> files_below(const std::string& dir) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir))
    if (entry.is_regular_file())
      paths.push_back(std::filesystem::relative(entry.path(), dir).string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// A disk whose calls number `first` to `first + count - 1` fail. `torn` writes half of the bytes
// before it fails, as a disk does that becomes full. Counts all calls.
struct FailingDisk {
  std::atomic<int> calls{0};
  int first = -1, count = 1;
  int error = EIO;
  bool torn = false;

  bool fails() {
    int call = calls++;
    return first >= 0 && call >= first && call < first + count;
  }
  FileOps ops() {
    FileOps ops = system_files();
    auto fail = [this] { return errno = error, -1; };
    ops.open = [this, fail, real = ops.open](const char* path, int flags, mode_t mode) {
      return fails() ? fail() : real(path, flags, mode);
    };
    ops.write = [this, fail, real = ops.write](int fd, const void* bytes, size_t size) -> ssize_t {
      if (!fails()) return real(fd, bytes, size);
      if (torn && size > 1) (void)!real(fd, bytes, size / 2);
      return fail();
    };
    ops.fdatasync = [this, fail, real = ops.fdatasync](int fd) {
      return fails() ? fail() : real(fd);
    };
    ops.fsync = [this, fail, real = ops.fsync](int fd) { return fails() ? fail() : real(fd); };
    ops.syncfs = [this, fail, real = ops.syncfs](int fd) { return fails() ? fail() : real(fd); };
    ops.rename = [this, fail, real = ops.rename](const char* from, const char* to) {
      return fails() ? fail() : real(from, to);
    };
    ops.unlink = [this, fail, real = ops.unlink](const char* path) {
      return fails() ? fail() : real(path);
    };
    return ops;
  }
};

}  // namespace infertrail::trail
