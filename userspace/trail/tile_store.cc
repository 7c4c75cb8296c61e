#include "trail/tile_store.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

namespace infertrail::trail {
namespace {

// Up to here each file is synced by itself; more of them share one syncfs(), which costs one
// journal commit instead of one for each file.
constexpr size_t kFilesSyncedSingly = 8;

std::string parent_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

Status list_below(const std::string& root, const std::string& path, std::vector<std::string>& out) {
  auto names = list_dir(root + "/" + path);
  if (!names.ok() && names.error().code == Code::kNotFound) return {};  // a writer removed it
  if (!names.ok()) return names.error();
  for (const std::string& name : names.value()) {
    std::string below = path + "/" + name;
    struct stat info;
    if (::lstat((root + "/" + below).c_str(), &info) != 0) {
      if (errno == ENOENT) continue;
      return system_error("stat", root + "/" + below, errno);
    }
    if (S_ISDIR(info.st_mode)) {
      TRY_STATUS(list_below(root, below, out));
    } else {
      out.push_back(below);
    }
  }
  return {};
}

}  // namespace

bool is_temporary(const std::string& path) {
  return path.ends_with(".tmp");
}

bool is_partial(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash != std::string::npos && path.substr(0, slash).ends_with(".p");
}

Status TileStore::write_temporary(const TileFile& file, bool sync) {
  std::string path = dir_ + "/" + file.path + ".tmp";
  int number = ops_.open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (number < 0 && errno == ENOENT) {
    TRY_STATUS(mkdirs(parent_of(path), 0700));
    number = ops_.open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  }
  Fd fd(number);
  if (!fd.valid()) return system_error("create", path, errno);
  TRY_STATUS(write_all(fd.get(), file.bytes, path, ops_));
  if (sync && ops_.fdatasync(fd.get()) != 0) return system_error("fdatasync", path, errno);
  return {};
}

Status TileStore::put(const std::vector<TileFile>& files) {
  if (files.empty()) return {};
  Fd top(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top.valid()) return system_error("open", dir_, errno);
  bool singly = files.size() <= kFilesSyncedSingly;
  for (const TileFile& file : files) TRY_STATUS(write_temporary(file, singly));
  if (!singly && ops_.syncfs(top.get()) != 0) return system_error("syncfs", dir_, errno);
  std::set<std::string> dirs;
  for (const TileFile& file : files) {
    std::string path = dir_ + "/" + file.path;
    if (ops_.rename((path + ".tmp").c_str(), path.c_str()) != 0)
      return system_error("rename", path, errno);
    // A new directory's own name is in its parent, up to the trail's directory.
    for (std::string dir = parent_of(path); dir.size() > dir_.size(); dir = parent_of(dir))
      dirs.insert(dir);
  }
  if (!singly && ops_.syncfs(top.get()) != 0) return system_error("syncfs", dir_, errno);
  if (singly)
    for (const std::string& dir : dirs) TRY_STATUS(fsync_dir(dir, ops_));
  return {};
}

Result<bool> TileStore::has(const TileFile& file) const {
  auto bytes = read_file(dir_ + "/" + file.path);
  if (!bytes.ok() && bytes.error().code == Code::kNotFound) return false;
  if (!bytes.ok()) return bytes.error();
  if (bytes.value() != file.bytes)
    return Error{Code::kCorrupt, file.path + ": differs from the entries in the segments"};
  return true;
}

Status TileStore::remove(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    std::string full = dir_ + "/" + path;
    if (ops_.unlink(full.c_str()) != 0 && errno != ENOENT)
      return system_error("unlink", full, errno);
    ::rmdir(parent_of(full).c_str());  // refuses when it is not empty, which is what we want
  }
  return {};
}

Result<std::vector<std::string>> TileStore::list() const {
  std::vector<std::string> paths;
  TRY_STATUS(list_below(dir_, "tile", paths));
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace infertrail::trail
