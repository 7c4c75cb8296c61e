#include "policy/config.h"

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/bytes.h"
#include "base/owned.h"
#include "base/yaml.h"

namespace infertrail {
namespace {

constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;
constexpr size_t kMaxFile = kMiB;  // as a Kubernetes ConfigMap

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

Error file_error(const std::string& path) {
  Code code = errno == EACCES || errno == EPERM ? Code::kPermission : Code::kIo;
  return {code, path + ": cannot be read: " + std::strerror(errno)};
}

// No value: the file does not exist.
Result<std::optional<std::string>> read_if_there(const std::string& path) {
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid() && errno == ENOENT) return std::optional<std::string>();
  if (!file.valid()) return file_error(path);
  std::string text;
  char block[16384];
  for (;;) {
    ssize_t got = ::read(file.get(), block, sizeof(block));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_error(path);
    if (got == 0) return std::optional(std::move(text));
    text.append(block, static_cast<size_t>(got));
    if (text.size() > kMaxFile)
      return Error{Code::kInvalid, path + ": larger than " + format_bytes(kMaxFile)};
  }
}

class Check {
 public:
  void fail(const std::string& text) { all_ += (all_.empty() ? "" : "\n") + text; }
  void size(const char* name, uint64_t value, uint64_t low, uint64_t high) {
    if (value < low || value > high)
      fail(std::string(name) + ": " + format_bytes(value) + " is not between " + format_bytes(low) +
           " and " + format_bytes(high));
  }
  void ring(const char* name, uint64_t value) {
    size(name, value, 64 * kKiB, kGiB);
    if (!std::has_single_bit(value))
      fail(std::string(name) + ": " + format_bytes(value) + " is not a power of two");
  }
  void seconds(const char* name, const google::protobuf::Duration& value, int64_t low,
               int64_t high) {
    if (value.seconds() < low || value.seconds() > high)
      fail(std::string(name) + ": " + std::to_string(value.seconds()) + "s is not between " +
           std::to_string(low) + "s and " + std::to_string(high) + "s");
  }
  void absolute(const char* name, const std::string& path) {
    if (!path.starts_with('/'))
      fail(std::string(name) + ": \"" + path + "\" is not an absolute path");
  }
  Status status() const {
    if (all_.empty()) return {};
    return Error{Code::kInvalid, all_};
  }

 private:
  std::string all_;
};

void check_names(const Config& config, const std::vector<std::string>& detectors, Check* check) {
  static constexpr std::string_view kLevels[] = {"error", "warn", "info", "debug"};
  if (std::find(std::begin(kLevels), std::end(kLevels), config.log_level()) == std::end(kLevels))
    check->fail("log_level: unknown value \"" + config.log_level() +
                "\"; one of error, warn, info, debug");
  for (const std::string& name : config.masking().detectors()) {
    if (std::find(detectors.begin(), detectors.end(), name) != detectors.end()) continue;
    std::string near = nearest(name, detectors);
    check->fail("masking.detectors: there is no detector \"" + name + "\"" +
                (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
  }
  const std::string& origin = config.trail_options().origin();
  bool bad = origin.empty() || std::any_of(origin.begin(), origin.end(), [](unsigned char c) {
               return c <= 0x20 || c == '+' || c == 0x7F;
             });
  if (bad)
    check->fail("trail_options.origin: \"" + origin + "\" must not be empty or hold spaces or '+'");
}

}  // namespace

Config default_config() {
  Config config;
  config.set_trail("/var/lib/infertrail");
  config.set_socket("/run/infertrail/control.sock");
  config.add_targets("auto");
  config.set_log_level("info");
  Capture& capture = *config.mutable_capture();
  capture.set_data_ring_bytes(64 * kMiB);
  capture.set_control_ring_bytes(8 * kMiB);
  capture.set_max_body_bytes(64 * kMiB);
  capture.set_max_memory_bytes(512 * kMiB);
  capture.set_workers(2);
  capture.mutable_idle_timeout()->set_seconds(3600);
  capture.set_pin_dir("/sys/fs/bpf/infertrail");
  capture.set_carry_bytes(64 * kMiB);
  Trail& trail = *config.mutable_trail_options();
  trail.set_segment_bytes(256 * kMiB);
  trail.mutable_checkpoint_interval()->set_seconds(1);
  config.mutable_masking();
  return config;
}

Result<Config> load_config(const std::string& path, const std::string& default_path) {
  TRY(auto text, read_if_there(path));
  if (!text.has_value() && path != default_path)
    return Error{Code::kNotFound, path + ": there is no such file"};
  Config config = default_config();
  if (text.has_value()) TRY_STATUS(load_yaml(path, *text, &config));
  Trail& trail = *config.mutable_trail_options();
  if (trail.origin().empty()) trail.set_origin("infertrail/" + host_name());
  if (trail.key_file().empty()) trail.set_key_file(config.trail() + "/keys/log.key");
  return config;
}

Status check_config(const Config& config, const std::vector<std::string>& known_detectors) {
  Check check;
  check.absolute("trail", config.trail());
  check.absolute("socket", config.socket());
  if (config.socket().size() >= sizeof(sockaddr_un::sun_path))
    check.fail("socket: the path is longer than " +
               std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
  if (config.targets().empty()) check.fail("targets: at least one selector is needed");
  const Capture& capture = config.capture();
  check.ring("capture.data_ring_bytes", capture.data_ring_bytes());
  check.ring("capture.control_ring_bytes", capture.control_ring_bytes());
  check.size("capture.max_body_bytes", capture.max_body_bytes(), kKiB, 256 * kMiB);
  check.size("capture.max_memory_bytes", capture.max_memory_bytes(), 16 * kMiB, 1024 * kGiB);
  if (capture.max_body_bytes() > capture.max_memory_bytes())
    check.fail("capture.max_body_bytes: larger than capture.max_memory_bytes");
  if (capture.workers() < 1 || capture.workers() > 64)
    check.fail("capture.workers: " + std::to_string(capture.workers()) +
               " is not between 1 and 64");
  check.seconds("capture.idle_timeout", capture.idle_timeout(), 1, 30 * 86400);
  if (capture.carry_bytes() != 0) check.size("capture.carry_bytes", capture.carry_bytes(), 2 * kMiB, 1024 * kMiB);
  if (!capture.pin_dir().empty()) check.absolute("capture.pin_dir", capture.pin_dir());
  if (capture.pin_dir().ends_with('/')) check.fail("capture.pin_dir: ends with '/'");
  if (capture.keep_on_stop() && capture.pin_dir().empty())
    check.fail("capture.keep_on_stop: needs capture.pin_dir");
  const Trail& trail = config.trail_options();
  check.size("trail_options.segment_bytes", trail.segment_bytes(), kMiB, 16 * kGiB);
  check.seconds("trail_options.checkpoint_interval", trail.checkpoint_interval(), 1, 3600);
  check.absolute("trail_options.key_file", trail.key_file());
  check_names(config, known_detectors, &check);
  return check.status();
}

}  // namespace infertrail
