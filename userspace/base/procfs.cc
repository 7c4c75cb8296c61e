#include "base/procfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <memory>
#include <set>

#include "base/owned.h"

namespace infertrail {
namespace {

Result<std::string> slurp(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Error{Code::kNotFound, path + ": " + std::strerror(errno)};
  std::string text;
  char buffer[16384];
  for (;;) {
    ssize_t n = read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{Code::kIo, path + ": " + std::strerror(errno)};
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
  }
}

std::string link_target(const std::string& path) {
  char buffer[PATH_MAX];
  ssize_t n = readlink(path.c_str(), buffer, sizeof(buffer));
  return n > 0 ? std::string(buffer, static_cast<size_t>(n)) : std::string();
}

template <typename T>
T number(std::string_view text, int base = 10) {
  T value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + 1);
  }
  return parts;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::string_view part : split(text, ' '))
    if (!part.empty()) out.push_back(part);
  return out;
}

using Dir = Owned<DIR, closedir>;

// Calls `use` with each entry whose name is a number.
template <typename Use>
void each_number(const std::string& path, Use use) {
  Dir dir(opendir(path.c_str()));
  if (!dir) return;
  while (dirent* entry = readdir(dir.get()))
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])))
      use(number<uint32_t>(entry->d_name), entry->d_name);
}

// The v2 line ("0::/path"); where that is the root, the v1 pids line.
std::string cgroup_path(std::string_view text) {
  std::string v2, pids;
  for (std::string_view line : split(text, '\n')) {
    if (line.starts_with("0::")) v2 = line.substr(3);
    size_t at = line.find(":pids:");
    if (at != std::string_view::npos) pids = line.substr(at + 6);
  }
  return (v2.empty() || v2 == "/") && !pids.empty() ? pids : v2;
}

Status parse_stat(const std::string& text, ProcessFacts* out) {
  size_t open = text.find('('), close = text.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 > text.size())
    return Error{Code::kCorrupt, "stat of process " + std::to_string(out->pid) + " is not readable"};
  out->comm = text.substr(open + 1, close - open - 1);
  auto fields = words(std::string_view(text).substr(close + 2));
  if (fields.size() < 20)
    return Error{Code::kCorrupt, "stat of process " + std::to_string(out->pid) + " is too short"};
  out->ppid = number<uint32_t>(fields[1]);
  static const uint64_t kTick = 1000000000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  out->start_boot_ns = number<uint64_t>(fields[19]) * kTick;
  return {};
}

void listeners_in(const std::string& path, std::vector<ListeningSocket>* out) {
  auto text = slurp(path);
  if (!text.ok()) return;
  bool header = true;
  for (std::string_view line : split(text.value(), '\n')) {
    if (std::exchange(header, false)) continue;
    auto fields = words(line);
    if (fields.size() < 10 || fields[3] != "0A") continue;
    size_t colon = fields[1].rfind(':');
    out->push_back({number<uint64_t>(fields[9]),
                    number<uint16_t>(fields[1].substr(colon + 1), 16)});
  }
}

}  // namespace

Result<ProcessFacts> read_process(uint32_t pid, const std::string& proc) {
  const std::string dir = proc + "/" + std::to_string(pid);
  ProcessFacts facts;
  facts.pid = pid;
  TRY(std::string stat, slurp(dir + "/stat"));
  TRY_STATUS(parse_stat(stat, &facts));
  facts.exe = link_target(dir + "/exe");
  if (auto args = slurp(dir + "/cmdline"); args.ok()) {
    std::string_view text = args.value();
    while (!text.empty() && text.back() == '\0') text.remove_suffix(1);
    for (std::string_view arg : split(text, '\0')) facts.args.emplace_back(arg);
  }
  if (auto status = slurp(dir + "/status"); status.ok()) {
    size_t at = status.value().find("\nUid:\t");
    if (at != std::string::npos) facts.uid = number<uint32_t>(std::string_view(status.value()).substr(at + 6));
  }
  if (auto cgroup = slurp(dir + "/cgroup"); cgroup.ok()) facts.cgroup = cgroup_path(cgroup.value());
  return facts;
}

std::vector<uint32_t> list_processes(const std::string& proc) {
  std::vector<uint32_t> pids;
  each_number(proc, [&](uint32_t pid, const char*) { pids.push_back(pid); });
  return pids;
}

Result<std::vector<Mapping>> read_mappings(uint32_t pid, const std::string& proc) {
  TRY(std::string text, slurp(proc + "/" + std::to_string(pid) + "/maps"));
  std::vector<Mapping> out;
  for (std::string_view line : split(text, '\n')) {
    auto fields = words(line);
    if (fields.size() < 6) continue;
    size_t dash = fields[0].find('-');
    if (dash == std::string_view::npos) continue;
    Mapping mapping;
    mapping.begin = number<uint64_t>(fields[0].substr(0, dash), 16);
    mapping.end = number<uint64_t>(fields[0].substr(dash + 1), 16);
    mapping.executable = fields[1].size() > 2 && fields[1][2] == 'x';
    mapping.inode = number<uint64_t>(fields[4]);
    mapping.path = std::string(fields[5].data(), line.data() + line.size());
    out.push_back(std::move(mapping));
  }
  return out;
}

std::vector<std::pair<int, uint64_t>> socket_descriptors(uint32_t pid, const std::string& proc) {
  std::vector<std::pair<int, uint64_t>> out;
  const std::string dir = proc + "/" + std::to_string(pid) + "/fd";
  each_number(dir, [&](uint32_t fd, const char* name) {
    std::string target = link_target(dir + "/" + name);
    if (target.starts_with("socket:["))
      out.emplace_back(static_cast<int>(fd), number<uint64_t>(std::string_view(target).substr(8)));
  });
  return out;
}

std::vector<ListeningSocket> listening_sockets(uint32_t pid, const std::string& proc) {
  std::vector<ListeningSocket> out;
  listeners_in(proc + "/" + std::to_string(pid) + "/net/tcp", &out);
  listeners_in(proc + "/" + std::to_string(pid) + "/net/tcp6", &out);
  return out;
}

std::vector<uint16_t> listening_ports(uint32_t pid, const std::string& proc) {
  std::set<uint64_t> own;
  for (auto& [fd, inode] : socket_descriptors(pid, proc)) own.insert(inode);
  std::set<uint16_t> ports;
  if (own.empty()) return {};
  for (auto& listener : listening_sockets(pid, proc))
    if (own.contains(listener.inode)) ports.insert(listener.port);
  return {ports.begin(), ports.end()};
}

std::string_view without_deleted(std::string_view path) {
  constexpr std::string_view kSuffix = " (deleted)";
  if (path.ends_with(kSuffix)) path.remove_suffix(kSuffix.size());
  return path;
}

std::string command_line(const std::vector<std::string>& args) {
  std::string out;
  for (const std::string& arg : args) {
    if (!out.empty()) out += ' ';
    out += arg;
  }
  return out;
}

std::string container_id_of(std::string_view cgroup) {
  constexpr size_t kLength = 64;
  size_t run = 0;
  for (size_t i = 0; i <= cgroup.size(); i++) {
    if (i < cgroup.size() && std::isxdigit(static_cast<unsigned char>(cgroup[i]))) {
      run++;
      continue;
    }
    if (run == kLength) return std::string(cgroup.substr(i - kLength, kLength));
    run = 0;
  }
  return "";
}

std::string user_name(uint32_t uid) {
  char buffer[4096];
  passwd entry;
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found) return found->pw_name;
  return std::to_string(uid);
}

std::string cgroup2_mount(const std::string& proc) {
  auto text = slurp(proc + "/mounts");
  if (!text.ok()) return "";
  for (std::string_view line : split(text.value(), '\n')) {
    auto fields = words(line);
    if (fields.size() > 2 && fields[2] == "cgroup2") return std::string(fields[1]);
  }
  return "";
}

}  // namespace infertrail
