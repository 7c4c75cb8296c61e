#include "trail/sequencer.h"

#include <errno.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>

namespace infertrail::trail {

Status Sequencer::resume(const SegmentName& name, uint64_t offset) {
  std::string path = dir_ + "/" + name.path();
  Fd fd(ops_.open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC, 0));
  if (!fd.valid()) return system_error("open", path, errno);
  fd_ = std::move(fd);
  name_ = name;
  offset_ = offset;
  return {};
}

Status Sequencer::open_next() {
  name_ = {next_index_, 0};
  while (::access((dir_ + "/" + name_.path()).c_str(), F_OK) == 0) name_.attempt++;
  std::string path = dir_ + "/" + name_.path();
  Fd fd(ops_.open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error("create", path, errno);
  fd_ = std::move(fd);
  offset_ = 0;
  return fsync_dir(dir_ + "/segments", ops_);
}

Status Sequencer::write(std::string& frames) {
  if (fd_.valid() && offset_ >= segment_bytes_) fd_.reset();  // rotate
  Status done;
  if (!fd_.valid()) {
    done = open_next();
    auto now = std::chrono::system_clock::now().time_since_epoch();
    frames.insert(0, encode_header({log_, next_index_, 0,
                                    static_cast<uint64_t>(std::chrono::nanoseconds(now).count())}));
  }
  std::string path = dir_ + "/" + name_.path();
  if (done.ok()) done = write_all(fd_.get(), frames, path, ops_);
  if (done.ok() && ops_.fdatasync(fd_.get()) != 0) done = system_error("fdatasync", path, errno);
  if (!done.ok()) {
    seal(done.error());
    return done;
  }
  offset_ += frames.size();
  return {};
}

void Sequencer::seal(const Error& error) {
  spdlog::error("trail segment={} sealed_at={} error=\"{}\"", name_.path(), offset_, error.message);
  if (!fd_.valid()) return;  // it could not even be created
  fd_.reset();
  // Nothing in it was acknowledged: it may go, and no record needs to name it.
  if (offset_ == 0 && ops_.unlink((dir_ + "/" + name_.path()).c_str()) == 0) return;
  notes_.push_back({name_, offset_, 0, {}});
}

Result<Sequencer::Place> Sequencer::commit(const std::vector<std::string_view>& leaves,
                                           const std::vector<std::string_view>& bodies) {
  IT_CHECK(leaves.size() == bodies.size());
  std::string frames;
  TRY_STATUS(append_bodies_frame(frames, next_index_, bodies));
  TRY_STATUS(append_leaves_frame(frames, next_index_, leaves));
  size_t length = frames.size();
  TRY_STATUS(write(frames));
  next_index_ += leaves.size();
  return Place{name_, offset_ - length};
}

Status Sequencer::append_checkpoint(std::string_view note) {
  std::string frames;
  TRY_STATUS(append_checkpoint_frame(frames, next_index_, note));
  return write(frames);
}

}  // namespace infertrail::trail
