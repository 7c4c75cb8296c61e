#include "cli/commands.h"

#include <cstdio>

#include "base/bytes.h"
#include "cli/help.h"

namespace infertrail::cli {
namespace {

const Flag kJson = {"--json", 0, nullptr, "JSON for programs, one value per line"};
const Flag kTrail = {"--trail", 0, "DIR", "read this trail's files; no daemon is needed", Completes::kDirectory};
const Flag kNoIndex = {"--no-index", 0, nullptr, "with --trail: search the log itself, do not trust its index"};

constexpr const char* kSelectors = R"(SELECTOR is one of
  auto              the known inference servers, by executable, arguments and port
  pid=123           one process
  exe=/usr/bin/x    path of the executable; without '/': its file name; '*' and '?' match
  comm=name         the kernel's 15-character name; '*' and '?' match
  cmdline~=REGEX    the arguments, joined by blanks, match (POSIX extended)
  cgroup=/path      the cgroup path or one below it; '*' and '?' match
  port=8000         listens on this TCP port
  unit=x.service    the systemd unit
Children of a selected process are selected too. With ",stop" behind exe, comm, cgroup, unit or pid a
process is stopped until its TLS functions are probed: nothing of it is missed (docs/operating.md).
)";

const std::string& target_add_help() {
  static const std::string text = std::string(kSelectors) + R"(
A selector holds until it is removed or the daemon ends; for longer, put it into the daemon's
configuration. The change itself is recorded in the trail.

  sudo infertrail target add port=8000
  sudo infertrail target add 'cmdline~=vllm.*serve'
)";
  return text;
}

const std::string& target_remove_help() {
  static const std::string text = std::string(kSelectors) + R"(
Give it as `infertrail target list` prints it. The change itself is recorded in the trail.

  sudo infertrail target remove port=8000
)";
  return text;
}

constexpr const char* kLogHelp = R"(Filters are joined by "and". TIME is a span before now (30s, 10m, 2h, 1h30m, 3d, 1w) or a date and
time (2026-05-02T14:03:12Z, "2026-05-02 14:03", 2026-05-02; without an offset: local time).
Columns: # is the index for `show`; ! marks a call of which something is missing; tokens are in/out;
masked counts the values that were replaced, by type.

  sudo infertrail log                            the newest 100 records, oldest first
  sudo infertrail log -f --model qwen2.5         watch one model; Ctrl-C ends it
  sudo infertrail log --since 2h --status 500    what failed in the last two hours
  sudo infertrail log --grep passport --json     whole records for a program, one per line
  infertrail log --trail ./copy                  a copied trail, on a host without the daemon
)";

constexpr const char* kShowHelp = R"(NAME is a record's id, the beginning of one, or its index (the # of `infertrail log`; digits alone).

  sudo infertrail show 17
  sudo infertrail show 0199a3 --bodies
  infertrail show 17 --trail ./copy --json
)";

constexpr const char* kVerifyHelp = R"(Computes again, from the entries on disk, everything that the trail claims, and compares: every record
with its leaf, every leaf with the tree, the tree with the signed checkpoint. Needs no daemon, no index
and no secret. The first entry or file that is wrong is named on stderr, with exit code 1.
A checkpoint that was kept elsewhere finds what no file of the trail can show: that it was cut or
written anew as a whole.

  sudo infertrail verify
  infertrail verify --trail ./copy --vkey log.vkey.kept --older checkpoint.yesterday
)";

constexpr const char* kDoctorHelp = R"(Says what this kernel and host lack, of which targets not everything is seen, and what to do. Without a
daemon it checks what it can alone. Exit code 1 when anything is not ok.

  sudo infertrail doctor
)";

constexpr const char* kStatusHelp = R"(Coverage of a process: plain (HTTP in the clear is seen), tls:LIBRARY (TLS is read at this library),
no traffic (nothing yet), TLS NOT VISIBLE (connections whose content cannot be read), TLS PLAINTEXT MISSING
(connections that carried more than was seen). `ring`: what waits to be read, and what happens when it is
full. `canary`: a TLS exchange of the daemon's own that must be captured, to prove that the probes fire.

  sudo infertrail status
  sudo infertrail status --json
)";

std::vector<Command> make_commands() {
  const std::vector<Flag> log_flags = {
      {"--follow", 'f', nullptr, "go on with what comes; Ctrl-C ends it"},
      kJson,
      {"--since", 0, "TIME", "not older than"},
      {"--until", 0, "TIME", "older than"},
      {"--limit", 'n', "N", "the newest N (default 100)"},
      {"--model", 0, "NAME", "the model that was asked for, exactly"},
      {"--exe", 0, "TEXT", "part of the executable's path"},
      {"--pid", 0, "N", "of this process"},
      {"--status", 0, "N", "HTTP status of the answer"},
      {"--kind", 0, "KIND", "exchange, undecoded, gap, coverage, target, recovery, capture.start, capture.stop",
       Completes::kWords, "exchange undecoded gap coverage capture.start capture.stop target recovery"},
      {"--grep", 0, "TEXT", "part of any text of the record, case ignored"},
      {"--id", 0, "ID", "an id, the beginning of one, or an index"},
      kTrail,
      kNoIndex};
  return {
      {"status", "", 0, 0, "is it recording, whom, and was anything lost", {kJson}, kStatusHelp, run_status},
      {"target add", "SELECTOR", 1, 1, "monitor more processes", {kJson}, target_add_help().c_str(),
       run_target_add, "auto pid= exe= comm= cmdline~= cgroup= port= unit="},
      {"target remove", "SELECTOR", 1, 1, "end monitoring by a selector", {kJson},
       target_remove_help().c_str(), run_target_remove, "auto pid= exe= comm= cmdline~= cgroup= port= unit="},
      {"target list", "", 0, 0, "selectors, and the processes they match", {kJson},
       "  sudo infertrail target list\n", run_target_list},
      {"target discover", "", 0, 0, "inference servers on this host that could be monitored", {kJson},
       "The column `why` says how it was recognized.\n\n  sudo infertrail target discover\n",
       run_target_discover},
      {"log", "", 0, 0, "records as a table, oldest first", log_flags, kLogHelp, run_log},
      {"show", "NAME", 1, 1, "one record, whole",
       {{"--bodies", 0, nullptr, "raw bodies of request and answer too"}, kJson, kTrail, kNoIndex},
       kShowHelp, run_show},
      {"verify", "", 0, 0, "prove that a trail is whole and unchanged",
       {{"--trail", 0, "DIR", "the trail (default /var/lib/infertrail)", Completes::kDirectory},
        {"--vkey", 0, "FILE", "the log's public key, kept elsewhere", Completes::kFile},
        {"--older", 0, "CHECKPOINT", "an older checkpoint: finds rollback and forks", Completes::kFile}},
       kVerifyHelp, run_verify},
      {"doctor", "", 0, 0, "what this host lacks, and what to do about it", {kJson}, kDoctorHelp, run_doctor},
      {"completion", "SHELL", 1, 1, "print a completion script (bash)", {},
       "  infertrail completion bash > /etc/bash_completion.d/infertrail\n", run_completion, "bash"},
      {"help", "[COMMAND]", 0, 2, "help for a command", {}, "  infertrail help log\n", run_help,
       "status target log show verify doctor completion help"},
  };
}

// An error may quote recorded text or a file's name.
int complain(const Error& error, int code) {
  std::fprintf(stderr, "infertrail: %s", block(error.message, 0).c_str());
  return code;
}

Result<int> run_parsed(Context& context, const Arguments& arguments) {
  if (arguments.has("--help")) {
    print(arguments.command ? command_help(*arguments.command)
                            : arguments.group.empty() ? program_help() : group_help(arguments.group));
    return kOk;
  }
  if (arguments.has("--version")) {
    print("infertrail " INFERTRAIL_VERSION "\n");
    return kOk;
  }
  context.socket = arguments.value("--socket", kDefaultSocket);
  TRY(context.style, style_of_stdout(arguments.value("--color", "auto")));
  return arguments.command->run(context, arguments);
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = make_commands();
  return table;
}

const std::vector<Flag>& global_flags() {
  static const std::vector<Flag> table = {
      {"--socket", 0, "PATH", "where infertraild listens", Completes::kFile},
      {"--color", 0, "WHEN", "auto, always or never (also: NO_COLOR)", Completes::kWords, "auto always never"},
      {"--help", 'h', nullptr, "this text"},
      {"--version", 0, nullptr, "print the version"}};
  return table;
}

int run_program(const std::vector<std::string>& given) {
  auto arguments = parse_arguments(given, commands(), global_flags());
  if (!arguments.ok()) return complain(arguments.error(), kUsage);
  const Arguments& parsed = arguments.value();
  if (!parsed.command && !parsed.has("--help") && !parsed.has("--version")) {
    std::fputs(program_help().c_str(), stderr);
    return kUsage;
  }
  Context context;
  auto code = run_parsed(context, parsed);
  if (!code.ok()) {
    (void)flush();   // the error below is the one that counts
    if (context.daemon_missing) return complain(code.error(), kNoDaemon);
    return complain(code.error(), code.error().code == Code::kInvalid ? kUsage : kFailed);
  }
  if (auto written = flush(); !written.ok()) return complain(written.error(), kFailed);
  return code.value();
}

Result<int> run_completion(Context&, const Arguments& arguments) {
  if (arguments.words[0] != "bash")
    return Error{Code::kInvalid, "completion \"" + one_line(arguments.words[0]) + "\": only bash is known"};
  print(bash_completion());
  return kOk;
}

Result<int> run_help(Context&, const Arguments& arguments) {
  if (arguments.words.empty()) {
    print(program_help());
    return kOk;
  }
  // As if --help stood behind the words: the same errors for what does not exist.
  std::vector<std::string> words = arguments.words;
  words.push_back("--help");
  TRY(const Arguments parsed, parse_arguments(words, commands(), global_flags()));
  print(parsed.command ? command_help(*parsed.command) : group_help(parsed.group));
  return kOk;
}

}  // namespace infertrail::cli
