// What keeps capture alive without a daemon: maps and links in the BPF file system.
//
//   <root>/v<abi>/maps/<map>                  shared by every generation of programs
//   <root>/v<abi>/links/<generation>/<link>   what one daemon attached
//
// <root> is 0700 and locked (flock) by the daemon that uses it. A pinned link stays attached, and a
// pinned map keeps its content, when the process that made it is gone, killed or not.
// Thread: any; names of links are given under a lock. bpffs: Documentation/bpf/btf.rst and bpf(2) of
// the kernel; it forbids dots in names.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

class Pins {
 public:
  // `abi` names the maps' layout. Makes <root> if it is missing. Errors: kUnsupported when there is no
  // BPF file system there, kPermission when another daemon holds the lock.
  static Result<std::unique_ptr<Pins>> open(const std::string& root, const std::string& abi);
  // Lets go of the lock and of nothing else.
  ~Pins() = default;
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;

  // A daemon with the same abi was here, and its maps are complete.
  bool adopted() const { return adopted_; }
  // Ours: larger than any that is attached.
  uint32_t generation() const { return generation_; }
  const std::string& folder() const { return folder_; }

  // The pinned map; kNotFound when it is not there.
  Result<Fd> map(const std::string& name) const;
  Status keep_map(const std::string& name, int fd);
  // All maps are pinned: from here on another daemon may adopt them.
  Status complete(int shared_fd);

  // -> the pin's path, for drop_link(). The name is for people.
  Result<std::string> keep_link(const std::string& name, int fd);
  // Detaches when nobody else holds it. After leave(): nothing.
  void drop_link(const std::string& path);

  // Older generations, oldest first; their links; and their end. The kernel detaches in the background.
  std::vector<uint32_t> older() const;
  std::vector<Fd> links(uint32_t generation) const;
  Status drop_generation(uint32_t generation);

  // Folders of other abis: what daemons of other versions left.
  std::vector<std::string> strangers() const;

  // From here on nothing of ours is unpinned: the next daemon finds it.
  void leave() { left_ = true; }
  bool left() const { return left_; }
  // Everything of this abi, and <root> when nothing else is in it.
  Status remove();
  // Everything under <root>/v*: links first, so that nothing acts on maps that are gone.
  static Status remove_folder(const std::string& folder);

 private:
  Pins() = default;
  Status take_lock();
  Status open_generation();

  std::string root_, folder_;
  Fd lock_;
  bool adopted_ = false;
  uint32_t generation_ = 1;
  std::atomic<bool> left_{false};
  std::atomic<uint64_t> names_{0};
};

// A pinned link: unpinned with this object, unless the pins were left to the next daemon. Close the
// link's descriptor after it, and the detach is over when that returns.
class LinkPin {
 public:
  LinkPin(Pins& pins, std::string path) : pins_(&pins), path_(std::move(path)) {}
  ~LinkPin() {
    if (!path_.empty()) pins_->drop_link(path_);
  }
  LinkPin(LinkPin&& other) noexcept : pins_(other.pins_), path_(std::exchange(other.path_, {})) {}
  LinkPin& operator=(LinkPin&& other) noexcept {
    std::swap(pins_, other.pins_);
    std::swap(path_, other.path_);
    return *this;
  }

 private:
  Pins* pins_;
  std::string path_;
};

// The map that a complete folder has, and what pins are called: bpffs takes no dots.
constexpr char kSharedMap[] = "data_shared";
std::string pin_name(const std::string& map);

// Which links stand in a folder and how much memory its maps take, for people.
struct Leftover {
  std::string folder;
  size_t maps = 0, links = 0;
};
// Removes what a dead daemon left under `root`; an error when a living one holds it.
Result<std::vector<Leftover>> detach_leftovers(const std::string& root);

}  // namespace infertrail
