// Files, with errors that name the path and what the system said. FileOps is the seam through which
// the trail touches the disk: tests replace single members to fail the n-th call.
// Thread: every function may be called from any thread; FileOps is not changed while in use.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

// Calls that change the disk; each behaves as the system call of its name (result and errno).
struct FileOps {
  std::function<int(const char* path, int flags, mode_t mode)> open;
  std::function<ssize_t(int fd, const void* bytes, size_t count)> write;
  std::function<int(int fd)> fdatasync;
  std::function<int(int fd)> fsync;
  std::function<int(int fd)> syncfs;
  std::function<int(const char* from, const char* to)> rename;
  std::function<int(const char* path)> unlink;
};
const FileOps& system_files();

// ENOSPC and EDQUOT are kExhausted, EACCES and EPERM and EROFS kPermission, ENOENT kNotFound,
// others kIo.
Error system_error(const std::string& doing, const std::string& path, int number);

Result<std::string> read_file(const std::string& path);

// At most `count` bytes from `offset`; fewer only at the end of the file. Replaces `out`.
Status pread_some(int fd, uint64_t offset, size_t count, const std::string& path, std::string& out);

Status write_all(int fd, std::string_view bytes, const std::string& path,
                 const FileOps& ops = system_files());

// Whole or not at all, also over a power loss: <path>.tmp, fdatasync, rename, fsync of the
// directory. The temporary file is removed after an error as far as the system lets us.
Status write_file_atomic(const std::string& path, std::string_view bytes, mode_t mode,
                         const FileOps& ops = system_files());

Status fsync_dir(const std::string& dir, const FileOps& ops = system_files());

// `dir` and its missing parents; those made get `mode`. An existing directory is left as it is.
Status mkdirs(const std::string& dir, mode_t mode);

// Names in `dir` without "." and "..", sorted by bytes.
Result<std::vector<std::string>> list_dir(const std::string& dir);

Result<uint64_t> file_size(int fd, const std::string& path);

}  // namespace infertrail
