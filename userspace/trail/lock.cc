#include "trail/lock.h"

#include <errno.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/file.h"
#include "trail/encoding.h"

namespace infertrail::trail {
namespace {

constexpr std::string_view kWord = "sequenced ";

std::string content(uint64_t size) {
  return std::string(kWord) + twenty_digits(size) + "\n";
}

}  // namespace

Result<WriterLock> WriterLock::take(const std::string& trail_dir) {
  std::string path = trail_dir + "/lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error("open", path, errno);
  // A reader holds it shared for a moment while it asks whether there is a writer.
  for (int tries = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; tries++) {
    if (errno != EWOULDBLOCK) return system_error("flock", path, errno);
    if (tries == 20)
      return Error{Code::kPermission, trail_dir +
                                          ": another infertraild writes this trail (it holds " +
                                          path + "); stop it, or give this one another directory"};
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return WriterLock(std::move(fd));
}

Status WriterLock::set_sequenced(uint64_t size) {
  std::string text = content(size);
  ssize_t put = ::pwrite(fd_.get(), text.data(), text.size(), 0);
  if (put != static_cast<ssize_t>(text.size()))
    return system_error("write", "lock", put < 0 ? errno : EIO);
  return {};
}

Result<std::optional<uint64_t>> sequenced_by_writer(const std::string& trail_dir) {
  std::string path = trail_dir + "/lock";
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return std::optional<uint64_t>();
  if (!fd.valid()) return system_error("open", path, errno);
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return std::optional<uint64_t>();
  if (errno != EWOULDBLOCK) return system_error("flock", path, errno);
  std::string text;
  TRY_STATUS(pread_some(fd.get(), 0, 64, path, text));
  if (text.size() != 31 || !text.starts_with(kWord))
    return std::optional<uint64_t>(0);  // still starting
  uint64_t size = 0;
  std::from_chars(text.data() + kWord.size(), text.data() + 30, size);
  if (content(size) != text) return Error{Code::kCorrupt, path + ": is not a lock file of a trail"};
  return std::optional<uint64_t>(size);
}

}  // namespace infertrail::trail
