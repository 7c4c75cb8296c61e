#include "capture/selector.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "base/bytes.h"
#include "capture/known_servers.h"

namespace infertrail {
namespace {

constexpr const char* kForms =
    "use auto, pid=N, exe=PATH, comm=NAME, cmdline~=REGEX, cgroup=PATH, port=N or unit=NAME";

Error bad(const std::string& text, const std::string& why) {
  return {Code::kInvalid, "selector \"" + text + "\": " + why};
}

std::optional<uint32_t> whole_number(const std::string& text, uint32_t max) {
  uint32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0 || value > max)
    return std::nullopt;
  return value;
}

std::string_view file_name(std::string_view path) {
  size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

bool has_component(std::string_view path, std::string_view name) {
  while (!path.empty()) {
    size_t slash = path.find('/');
    if (glob_match(name, path.substr(0, slash))) return true;
    if (slash == std::string_view::npos) return false;
    path.remove_prefix(slash + 1);
  }
  return false;
}

// "; did you mean port=?" for what is nearly a form, or "".
std::string nearest_form(const std::string& text) {
  const std::string name = text.substr(0, text.find_first_of("=~"));
  const std::string near = nearest(name, {"auto", "pid", "exe", "comm", "cmdline", "cgroup", "port", "unit"});
  if (near.empty()) return "";
  return "; did you mean " + near + (near == "auto" ? "?" : near == "cmdline" ? "~=?" : "=?");
}

constexpr std::string_view kStop = ",stop";

}  // namespace

void Selector::FreeRegex::operator()(regex_t* regex) const {
  regfree(regex);
  delete regex;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      p++;
      t++;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') p++;
  return p == pattern.size();
}

Result<Selector> Selector::parse(const std::string& text) {
  Selector out;
  out.text_ = text;
  out.stops_ = text.ends_with(kStop);
  const std::string bare = text.substr(0, text.size() - (out.stops_ ? kStop.size() : 0));
  if (bare == "auto") {
    if (out.stops_) TRY_STATUS(out.parse_stop());
    return out;
  }
  struct Form {
    std::string_view prefix;
    Kind kind;
  };
  constexpr Form kTable[] = {{"pid=", Kind::kPid},         {"exe=", Kind::kExe},
                             {"comm=", Kind::kComm},       {"cmdline~=", Kind::kCmdline},
                             {"cgroup=", Kind::kCgroup},   {"port=", Kind::kPort},
                             {"unit=", Kind::kUnit}};
  const Form* form = nullptr;
  for (const Form& candidate : kTable)
    if (bare.starts_with(candidate.prefix)) form = &candidate;
  if (!form) return bad(text, "no such selector" + nearest_form(text) + "; " + kForms);
  out.kind_ = form->kind;
  out.value_ = bare.substr(form->prefix.size());
  if (out.value_.empty()) return bad(text, "a value is missing; " + std::string(kForms));
  if (out.kind_ == Kind::kPid || out.kind_ == Kind::kPort) {
    auto value = whole_number(out.value_, out.kind_ == Kind::kPort ? 65535 : 4194304);
    if (!value)
      return bad(text, out.kind_ == Kind::kPort ? "a port is a number from 1 to 65535"
                                                : "a pid is a number from 1 to 4194304");
    out.number_ = *value;
  }
  if (out.kind_ == Kind::kCmdline) {
    auto regex = std::make_unique<regex_t>();
    if (int error = regcomp(regex.get(), out.value_.c_str(), REG_EXTENDED | REG_NOSUB); error != 0) {
      char why[256];
      regerror(error, regex.get(), why, sizeof(why));
      return bad(text, std::string("not a POSIX extended regular expression: ") + why);
    }
    out.regex_.reset(regex.release());
  }
  if (out.kind_ == Kind::kCgroup && out.value_[0] != '/')
    return bad(text, "a cgroup path begins with '/', as in /proc/PID/cgroup");
  if (out.stops_) TRY_STATUS(out.parse_stop());
  return out;
}

// The part of the value that the kernel compares; "" where it cannot decide.
std::string_view Selector::name_in_kernel() const {
  switch (kind_) {
    case Kind::kExe:
    case Kind::kCgroup: return file_name(value_);
    case Kind::kComm:
    case Kind::kUnit: return value_;
    default: return "";
  }
}

// What stops a process is decided in the kernel, by one name, when the process executes.
Status Selector::parse_stop() {
  if (kind_ == Kind::kPid) return {};
  if (kind_ == Kind::kAuto || kind_ == Kind::kCmdline || kind_ == Kind::kPort)
    return bad(text_, "the kernel cannot know at exec who that will be, so nobody can be stopped: ,stop goes with exe=, "
                      "comm=, cgroup=, unit= and pid=" +
                          std::string(kind_ == Kind::kCmdline ? "; an expression that ends so is written ,[s]top" : ""));
  const std::string_view name = name_in_kernel();
  if (name.empty() || name.find_first_of("*?") != std::string_view::npos)
    return bad(text_, "with ,stop the last part of the name must be there, without * and ?: by it the kernel knows who "
                      "is to be stopped");
  return {};
}

std::optional<abi::stop_name> Selector::stop_name() const {
  if (!stops_ || kind_ == Kind::kPid) return std::nullopt;
  std::string name(name_in_kernel());
  if (kind_ == Kind::kUnit && value_.find('.') == std::string::npos) name += ".service";
  abi::stop_name out{};
  out.kind = kind_ == Kind::kExe ? IT_STOP_EXE : kind_ == Kind::kComm ? IT_STOP_COMM : IT_STOP_CGROUP;
  std::memcpy(out.text, name.data(), std::min(name.size(), sizeof(out.text) - 1));
  return out;
}

std::string Selector::match(const ProcessFacts& facts, const std::vector<uint16_t>& ports) const {
  const std::string exe(without_deleted(facts.exe));
  bool yes = false;
  switch (kind_) {
    case Kind::kAuto:
      if (std::string name = known_server(facts, ports); !name.empty()) return "auto: " + name;
      return "";
    case Kind::kPid: yes = facts.pid == number_; break;
    case Kind::kExe:
      yes = glob_match(value_, value_.find('/') == std::string::npos ? file_name(exe)
                                                                     : std::string_view(exe));
      break;
    case Kind::kComm: yes = glob_match(value_, facts.comm); break;
    case Kind::kCmdline: yes = regexec(regex_.get(), command_line(facts.args).c_str(), 0, nullptr, 0) == 0; break;
    case Kind::kCgroup:
      yes = glob_match(value_, facts.cgroup) || facts.cgroup.starts_with(value_ + "/") ||
            glob_match(value_ + "/*", facts.cgroup);
      break;
    case Kind::kPort:
      for (uint16_t port : ports) yes |= port == number_;
      break;
    case Kind::kUnit: {
      std::string name = value_.find('.') == std::string::npos ? value_ + ".service" : value_;
      yes = has_component(facts.cgroup, name);
      break;
    }
  }
  return yes ? text_ : "";
}

std::string Selector::exact_exe() const {
  if (kind_ != Kind::kExe || value_[0] != '/') return "";
  return value_.find_first_of("*?") == std::string::npos ? value_ : "";
}

}  // namespace infertrail
