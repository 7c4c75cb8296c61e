#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace infertrail {
namespace {

Status write_temporary(const std::string& path, std::string_view bytes, mode_t mode,
                       const FileOps& ops) {
  Fd fd(ops.open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd.valid()) return system_error("create", path, errno);
  TRY_STATUS(write_all(fd.get(), bytes, path, ops));
  if (ops.fdatasync(fd.get()) != 0) return system_error("fdatasync", path, errno);
  return {};
}

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

const FileOps& system_files() {
  static const FileOps ops{
      [](const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); },
      [](int fd, const void* bytes, size_t count) { return ::write(fd, bytes, count); },
      [](int fd) { return ::fdatasync(fd); },
      [](int fd) { return ::fsync(fd); },
      [](int fd) { return ::syncfs(fd); },
      [](const char* from, const char* to) { return ::rename(from, to); },
      [](const char* path) { return ::unlink(path); }};
  return ops;
}

Error system_error(const std::string& doing, const std::string& path, int number) {
  Code code = Code::kIo;
  if (number == ENOSPC || number == EDQUOT) code = Code::kExhausted;
  if (number == EACCES || number == EPERM || number == EROFS) code = Code::kPermission;
  if (number == ENOENT) code = Code::kNotFound;
  char text[128];
  return {code, path + ": " + doing + ": " + strerror_r(number, text, sizeof text)};
}

Result<std::string> read_file(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return system_error("open", path, errno);
  std::string out;
  char block[65536];
  for (;;) {
    ssize_t got = ::read(fd.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path, errno);
    if (got == 0) return out;
    out.append(block, static_cast<size_t>(got));
  }
}

Status pread_some(int fd, uint64_t offset, size_t count, const std::string& path,
                  std::string& out) {
  out.resize(count);
  size_t have = 0;
  while (have < count) {
    ssize_t got = ::pread(fd, out.data() + have, count - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("read", path, errno);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  out.resize(have);
  return {};
}

Status write_all(int fd, std::string_view bytes, const std::string& path, const FileOps& ops) {
  while (!bytes.empty()) {
    ssize_t put = ops.write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return system_error("write", path, errno);
    if (put == 0) return Error{Code::kIo, path + ": write: the system took no bytes"};
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return {};
}

Status fsync_dir(const std::string& dir, const FileOps& ops) {
  Fd fd(ops.open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  if (!fd.valid()) return system_error("open", dir, errno);
  if (ops.fsync(fd.get()) != 0) return system_error("fsync", dir, errno);
  return {};
}

Status write_file_atomic(const std::string& path, std::string_view bytes, mode_t mode,
                         const FileOps& ops) {
  std::string temporary = path + ".tmp";
  Status written = write_temporary(temporary, bytes, mode, ops);
  if (written.ok() && ops.rename(temporary.c_str(), path.c_str()) != 0)
    written = system_error("rename", path, errno);
  if (!written.ok()) {
    ::unlink(temporary.c_str());  // best effort: the error below is what matters
    return written;
  }
  return fsync_dir(parent_of(path), ops);
}

Status mkdirs(const std::string& dir, mode_t mode) {
  for (size_t at = 1; at <= dir.size(); at++) {
    if (at != dir.size() && dir[at] != '/') continue;
    std::string part = dir.substr(0, at);
    if (::mkdir(part.c_str(), mode) == 0 || errno == EEXIST) continue;
    return system_error("mkdir", part, errno);
  }
  struct stat info;
  if (::stat(dir.c_str(), &info) != 0) return system_error("stat", dir, errno);
  if (!S_ISDIR(info.st_mode)) return Error{Code::kInvalid, dir + ": is not a directory"};
  return {};
}

Result<std::vector<std::string>> list_dir(const std::string& dir) {
  Owned<DIR, closedir> handle(::opendir(dir.c_str()));
  if (!handle) return system_error("open directory", dir, errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(handle.get());
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return system_error("read directory", dir, errno);
  std::sort(names.begin(), names.end());
  return names;
}

Result<uint64_t> file_size(int fd, const std::string& path) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return system_error("stat", path, errno);
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace infertrail
