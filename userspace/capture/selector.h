// Selectors: which processes are monitored. Text forms (also in the configuration and in
// `infertrail target add`):
//   auto           known inference servers, by executable, arguments and listening port
//   pid=123        one process
//   exe=/usr/bin/x  path of the executable; without '/': its file name; '*' and '?' match
//   comm=name      the kernel's 15-character name; '*' and '?' match
//   cmdline~=text  the arguments, joined by spaces, match the POSIX extended expression
//   cgroup=/path   the cgroup path or one below it; '*' and '?' match
//   port=8000      listens on this TCP port
//   unit=x.service the systemd unit
// Children of a selected process are selected too. With ",stop" behind it (`exe=/usr/bin/x,stop`) its processes
// are stopped while what they execute or map is not probed yet (holds.h): for exe, comm, cgroup and unit without
// wildcards in the last part of the name, and pid. Thread: none, values.
#pragma once

#include <regex.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/procfs.h"
#include "base/result.h"
#include "infertrail/event.h"

namespace infertrail {

class Selector {
 public:
  // The error names what is wrong, the nearest known name, and the forms there are.
  static Result<Selector> parse(const std::string& text);

  const std::string& text() const { return text_; }
  // Why it matches ("auto: llama-server", "exe=…"), or "" when it does not. `ports` are the ports
  // that the process listens on; empty when not looked up.
  std::string match(const ProcessFacts& facts, const std::vector<uint16_t>& ports) const;
  bool needs_ports() const { return kind_ == Kind::kPort || kind_ == Kind::kAuto; }
  uint16_t port() const { return kind_ == Kind::kPort ? static_cast<uint16_t>(number_) : 0; }
  uint32_t pid() const { return kind_ == Kind::kPid ? number_ : 0; }
  bool stops() const { return stops_; }
  // By what the kernel knows at exec that a process may be one of its own; none for `pid`, or without stops().
  std::optional<abi::stop_name> stop_name() const;
  // An absolute path without wildcards, or "": its libraries can be prepared before it starts.
  std::string exact_exe() const;

 private:
  enum class Kind { kAuto, kPid, kExe, kComm, kCmdline, kCgroup, kPort, kUnit };
  Status parse_stop();
  std::string_view name_in_kernel() const;

  std::string text_, value_;
  bool stops_ = false;
  Kind kind_ = Kind::kAuto;
  uint32_t number_ = 0;
  struct FreeRegex {
    void operator()(regex_t* regex) const;
  };
  std::unique_ptr<regex_t, FreeRegex> regex_;
};

// '*' any run, '?' one character; everything else itself.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace infertrail
