// Opening a trail for writing: directory, lock, key, vkey, recovery, index, and then the thread.
#include <errno.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "trail/encoding.h"
#include "trail/writer.h"

namespace infertrail::trail {
namespace {

Status prepare_directory(const std::string& dir) {
  if (dir.empty()) return Error{Code::kInvalid, "the trail's directory is not set"};
  TRY_STATUS(mkdirs(dir, 0700));
  struct stat info;
  if (::stat(dir.c_str(), &info) != 0) return system_error("stat", dir, errno);
  if ((info.st_mode & 022) != 0)
    return Error{Code::kPermission,
                 dir + ": others may write into the trail; run: chmod 700 " + dir};
  if ((info.st_mode & 055) != 0)
    spdlog::warn("trail dir={} advice=\"others may read it; chmod 700\"", dir);
  for (const char* below : {"/segments", "/tile", "/keys"}) TRY_STATUS(mkdirs(dir + below, 0700));
  return fsync_dir(dir);
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// The key of an existing trail must be there; only a new trail gets a new key.
Result<Ed25519Key> load_or_create_key(const TrailOptions& options, const std::string& path) {
  auto key = Ed25519Key::load(path);
  if (key.ok() || key.error().code != Code::kNotFound) return key;
  if (exists(options.dir + "/log.vkey") || exists(options.dir + "/checkpoint"))
    return Error{Code::kNotFound,
                 path +
                     ": the signing key of this trail is gone; put it back, or start "
                     "a new trail in another directory under a new origin"};
  TRY_STATUS(mkdirs(path.substr(0, path.rfind('/')), 0700));
  return Ed25519Key::create(path);
}

Status check_vkey(const TrailOptions& options, const VerifierKey& key) {
  std::string path = options.dir + "/log.vkey";
  auto text = read_file(path);
  if (!text.ok() && text.error().code == Code::kNotFound)
    return write_file_atomic(path, key.text() + "\n", 0644, options.files);
  if (!text.ok()) return text.error();
  if (text.value() == key.text() + "\n") return {};
  return Error{Code::kInvalid,
               path + ": this trail is of another log or key (it says \"" +
                   utf8_prefix(text.value().substr(0, text.value().find('\n')), 300) +
                   "\", configuration and key file say \"" + key.text() +
                   "\"); use its origin and key, or another directory"};
}

}  // namespace

Result<std::unique_ptr<TrailWriter>> TrailWriter::open(const TrailOptions& given) {
  TrailOptions options = given;
  while (options.dir.size() > 1 && options.dir.back() == '/') options.dir.pop_back();
  if (options.key_file.empty()) options.key_file = options.dir + "/keys/log.key";
  TRY_STATUS(check_origin(options.origin));
  TRY_STATUS(prepare_directory(options.dir));
  TRY(WriterLock lock, WriterLock::take(options.dir));
  TRY(Ed25519Key key, load_or_create_key(options, options.key_file));
  TRY_STATUS(check_vkey(options, {options.origin, key.public_key()}));
  std::unique_ptr<TrailWriter> writer(new TrailWriter(options, std::move(lock), std::move(key)));
  Status started = writer->start();
  if (!started.ok()) return started.error();
  return writer;
}

Status TrailWriter::start() {
  VerifierKey verifier{options_.origin, key_.public_key()};
  TRY(Recovered recovered, recover_trail(options_.dir, verifier, options_.files));
  uint64_t size = recovered.builder.size();
  sequencer_.start(size, recovered.torn);
  if (recovered.resume)
    TRY_STATUS(sequencer_.resume(recovered.resume->first, recovered.resume->second));
  auto publisher = std::make_unique<Publisher>(options_.dir, options_.origin, key_, sequencer_,
                                               options_.files, std::move(recovered));
  if (options_.index) {
    TRY(Index index, Index::open(options_.dir, size));
    TRY_STATUS(index.catch_up(log_id(options_.origin)));
    index_ = std::move(index);
  }
  TRY_STATUS(lock_.set_sequenced(size));
  publisher_ = std::move(publisher);
  stats_.origin = options_.origin;
  stats_.size = size;
  stats_.published = publisher_->published().size;
  stats_.root_base64 = base64_encode(bytes_of(publisher_->published().root));
  TRY_STATUS(commit_notes());
  if (publisher_->behind()) TRY_STATUS(try_publish());
  flush_index(true);
  thread_ = std::thread([this] { run(); });
  return {};
}

}  // namespace infertrail::trail
