// The table of all commands (commands.cc): what parsing, help and completion are made from.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/terminal.h"

namespace infertrail::cli {

inline constexpr int kOk = 0, kFailed = 1, kUsage = 2, kNoDaemon = 3;

inline constexpr char kDefaultSocket[] = "/run/infertrail/control.sock";
inline constexpr char kDefaultTrail[] = "/var/lib/infertrail";

// What every command gets.
struct Context {
  std::string socket = kDefaultSocket;
  Style style;
  bool daemon_missing = false;   // set by a command whose error is that the daemon does not answer
};

const std::vector<Command>& commands();
const std::vector<Flag>& global_flags();

// The whole program but for signals: parses, runs, reports an error on stderr. The exit code.
int run_program(const std::vector<std::string>& arguments);

// One file each: status_command.cc, log_command.cc, …
Result<int> run_status(Context& context, const Arguments& arguments);
Result<int> run_target_add(Context& context, const Arguments& arguments);
Result<int> run_target_remove(Context& context, const Arguments& arguments);
Result<int> run_target_list(Context& context, const Arguments& arguments);
Result<int> run_target_discover(Context& context, const Arguments& arguments);
Result<int> run_log(Context& context, const Arguments& arguments);
Result<int> run_show(Context& context, const Arguments& arguments);
Result<int> run_verify(Context& context, const Arguments& arguments);
Result<int> run_doctor(Context& context, const Arguments& arguments);
Result<int> run_completion(Context& context, const Arguments& arguments);
Result<int> run_help(Context& context, const Arguments& arguments);

}  // namespace infertrail::cli
