#include "capture/pins.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/file.h"

namespace infertrail {
namespace {

bool is_bpf_file_system(const std::string& path) {
  struct statfs about {};
  return statfs(path.c_str(), &about) == 0 && about.f_type == BPF_FS_MAGIC;
}

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::vector<std::string> names_in(const std::string& folder) {
  auto names = list_dir(folder);
  return names.ok() ? names.value() : std::vector<std::string>();
}

Status make_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_error("make directory", path, errno);
  return {};
}

// Unlinking is quick; the kernel detaches what nobody holds any more in the background.
Status remove_files(const std::string& folder) {
  for (const std::string& name : names_in(folder)) {
    const std::string path = folder + "/" + name;
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return system_error("unlink", path, errno);
  }
  if (rmdir(folder.c_str()) != 0 && errno != ENOENT) return system_error("remove directory", folder, errno);
  return {};
}

Status pin(int fd, const std::string& path) {
  if (bpf_obj_pin(fd, path.c_str()) != 0) return system_error("pin", path, errno);
  return {};
}

Result<Fd> get(const std::string& path) {
  Fd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) return system_error("open pin", path, errno);
  return fd;
}

uint32_t number(const std::string& text) {
  uint32_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

}  // namespace

std::string pin_name(const std::string& map) {
  std::string out = map.starts_with('.') ? map.substr(1) : map;
  std::replace(out.begin(), out.end(), '.', '_');
  return out;
}

Result<std::unique_ptr<Pins>> Pins::open(const std::string& root, const std::string& abi) {
  std::unique_ptr<Pins> pins(new Pins());
  pins->root_ = root;
  pins->folder_ = root + "/v" + abi;
  if (!is_bpf_file_system(parent_of(root)))
    return Error{Code::kUnsupported, parent_of(root) + " is no BPF file system: `mount -t bpf bpf " +
                                         parent_of(root) + "`"};
  TRY_STATUS(pins->take_lock());
  if (exists(pins->folder_) && !exists(pins->folder_ + "/maps/" + kSharedMap))
    TRY_STATUS(remove_folder(pins->folder_));   // of a start that was killed
  TRY_STATUS(make_folder(pins->folder_));
  TRY_STATUS(make_folder(pins->folder_ + "/maps"));
  TRY_STATUS(make_folder(pins->folder_ + "/links"));
  pins->adopted_ = exists(pins->folder_ + "/maps/" + kSharedMap);
  TRY_STATUS(pins->open_generation());
  return pins;
}

// The one that ends may remove the folder while we wait for it: then its lock is no lock any more.
Status Pins::take_lock() {
  for (;;) {
    TRY_STATUS(make_folder(root_));
    Fd fd(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() && errno == ENOENT) continue;
    if (!fd.valid()) return system_error("open", root_, errno);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return system_error("flock", root_, errno);
      return Error{Code::kPermission, "another infertraild captures on this host (it holds " + root_ +
                                          "); stop it, or give this one its own capture.pin_dir"};
    }
    struct stat ours {}, there {};
    if (fstat(fd.get(), &ours) != 0) return system_error("stat", root_, errno);
    if (stat(root_.c_str(), &there) != 0 || ours.st_ino != there.st_ino) continue;
    lock_ = std::move(fd);
    return {};
  }
}

Status Pins::open_generation() {
  for (const std::string& name : names_in(folder_ + "/links"))
    generation_ = std::max(generation_, number(name) + 1);
  if (adopted_) {
    TRY(Fd shared, map(kSharedMap));
    bpf_map_info info{};
    uint32_t length = sizeof(info), zero = 0;
    if (bpf_obj_get_info_by_fd(shared.get(), &info, &length) != 0)
      return system_error("read", folder_ + "/maps/" + kSharedMap, errno);
    std::vector<uint32_t> value(info.value_size / sizeof(uint32_t) + 1);
    if (bpf_map_lookup_elem(shared.get(), &zero, value.data()) != 0)
      return system_error("read", folder_ + "/maps/" + kSharedMap, errno);
    generation_ = std::max({generation_, value[0] + 1, value[1] + 1});   // shared.acting
  }
  return make_folder(folder_ + "/links/" + std::to_string(generation_));
}

Result<Fd> Pins::map(const std::string& name) const {
  const std::string path = folder_ + "/maps/" + pin_name(name);
  if (!exists(path)) return Error{Code::kNotFound, path + ": no such pin"};
  return get(path);
}

Status Pins::keep_map(const std::string& name, int fd) { return pin(fd, folder_ + "/maps/" + pin_name(name)); }

Status Pins::complete(int shared_fd) { return keep_map(kSharedMap, shared_fd); }

Result<std::string> Pins::keep_link(const std::string& name, int fd) {
  const std::string path = folder_ + "/links/" + std::to_string(generation_) + "/" +
                           std::to_string(names_++) + "-" + pin_name(name);
  TRY_STATUS(pin(fd, path));
  return path;
}

void Pins::drop_link(const std::string& path) {
  if (!left_) unlink(path.c_str());
}

std::vector<uint32_t> Pins::older() const {
  std::vector<uint32_t> out;
  for (const std::string& name : names_in(folder_ + "/links"))
    if (number(name) != generation_) out.push_back(number(name));
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<Fd> Pins::links(uint32_t generation) const {
  const std::string folder = folder_ + "/links/" + std::to_string(generation);
  std::vector<Fd> out;
  for (const std::string& name : names_in(folder))
    if (auto link = get(folder + "/" + name); link.ok()) out.push_back(std::move(link.value()));
  return out;
}

Status Pins::drop_generation(uint32_t generation) {
  return remove_files(folder_ + "/links/" + std::to_string(generation));
}

std::vector<std::string> Pins::strangers() const {
  std::vector<std::string> out;
  for (const std::string& name : names_in(root_))
    if (name.starts_with('v') && root_ + "/" + name != folder_) out.push_back(root_ + "/" + name);
  return out;
}

Status Pins::remove() {
  if (left_) return {};
  TRY_STATUS(remove_folder(folder_));
  rmdir(root_.c_str());   // unless another version's folder is in it
  return {};
}

Status Pins::remove_folder(const std::string& folder) {
  for (const std::string& generation : names_in(folder + "/links"))
    TRY_STATUS(remove_files(folder + "/links/" + generation));
  if (exists(folder + "/links")) TRY_STATUS(remove_files(folder + "/links"));
  // Without this one the folder is no complete set any more, whatever stops us after it.
  const std::string shared = folder + "/maps/" + kSharedMap;
  if (unlink(shared.c_str()) != 0 && errno != ENOENT) return system_error("unlink", shared, errno);
  if (exists(folder + "/maps")) TRY_STATUS(remove_files(folder + "/maps"));
  if (rmdir(folder.c_str()) != 0 && errno != ENOENT) return system_error("remove directory", folder, errno);
  return {};
}

Result<std::vector<Leftover>> detach_leftovers(const std::string& root) {
  std::vector<Leftover> out;
  if (!exists(root)) return out;
  TRY(auto pins, Pins::open(root, "0"));   // for its lock
  for (const std::string& folder : pins->strangers()) {
    Leftover each{folder, names_in(folder + "/maps").size(), 0};
    for (const std::string& generation : names_in(folder + "/links"))
      each.links += names_in(folder + "/links/" + generation).size();
    TRY_STATUS(Pins::remove_folder(folder));
    out.push_back(each);
  }
  TRY_STATUS(pins->remove());
  return out;
}

}  // namespace infertrail
