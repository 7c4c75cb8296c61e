#include "cli/help.h"

#include <set>

#include "cli/commands.h"

namespace infertrail::cli {
namespace {

std::string padded(const std::string& text, size_t width) {
  return text.size() >= width ? text + " " : text + std::string(width - text.size(), ' ');
}

std::string flag_line(const Flag& flag) {
  std::string left = flag.letter ? std::string("-") + flag.letter + ", " + flag.name : std::string("    ") + flag.name;
  if (flag.value) left += std::string(" ") + flag.value;
  return "  " + padded(left, 26) + flag.about + "\n";
}

std::string flag_lines(const std::vector<Flag>& flags) {
  std::string out;
  for (const Flag& flag : flags) out += flag_line(flag);
  return out;
}

std::string command_line(const Command& command) {
  const std::string parameters = command.parameters;
  const std::string left = command.name + (parameters.empty() ? "" : " " + parameters);
  return "  " + padded(left, 28) + command.about + "\n";
}

constexpr const char* kExitCodes =
    "exit codes: 0 ok; 1 failed, verification failed, or not found; 2 wrong usage;\n"
    "            3 the daemon does not answer\n";

// Flags of the command line so far that want a value, and how to complete it.
std::string value_cases(const Command& command) {
  std::vector<Flag> flags = command.flags;
  flags.insert(flags.end(), global_flags().begin(), global_flags().end());
  std::string out;
  for (const Flag& flag : flags) {
    if (!flag.value) continue;
    std::string names = flag.name;
    if (flag.letter) names += std::string("|-") + flag.letter;
    std::string action = "return";   // nothing to offer
    if (flag.completes == Completes::kFile) action = "COMPREPLY=($(compgen -f -- \"$cur\")); return";
    if (flag.completes == Completes::kDirectory) action = "COMPREPLY=($(compgen -d -- \"$cur\")); return";
    if (flag.completes == Completes::kWords)
      action = std::string("COMPREPLY=($(compgen -W \"") + flag.words + "\" -- \"$cur\")); return";
    out += "        " + names + ") " + action + " ;;\n";
  }
  return out;
}

std::string case_of(const Command& command) {
  std::string offers = command.completes;
  for (const Flag& flag : command.flags) {
    offers += std::string(offers.empty() ? "" : " ") + flag.name;
    if (flag.letter) offers += std::string(" -") + flag.letter;
  }
  return std::string("    \"") + command.name + "\")\n      case \"$prev\" in\n" + value_cases(command) +
         "      esac\n      offers=\"" + offers + " $global\" ;;\n";
}

}  // namespace

std::string program_help() {
  std::string out =
      "infertrail: reads and checks the audit trail of AI inference calls, and steers infertraild.\n\n"
      "  infertrail [--socket PATH] [--color auto|always|never] COMMAND ...\n\ncommands:\n";
  for (const Command& command : commands()) out += command_line(command);
  out += "\nflags of every command:\n" + flag_lines(global_flags()) + "\n" + kExitCodes + R"(
examples:
  sudo infertrail status                   is it recording, whom, and was anything lost?
  sudo infertrail log --follow             watch calls as they end
  sudo infertrail show 17                  one call: what was asked, what was answered
  sudo infertrail verify                   prove that the trail is whole; needs no daemon

`infertrail COMMAND --help` says more, with examples.
)";
  return out;
}

std::string group_help(const std::string& group) {
  std::string out = "infertrail " + group + ":\n\n";
  for (const Command& command : commands())
    if (std::string(command.name).starts_with(group + " ")) out += command_line(command);
  return out + "\n`infertrail " + group + " COMMAND --help` says more, with examples.\n";
}

std::string command_help(const Command& command) {
  const std::string parameters = command.parameters;
  std::string out = std::string("infertrail ") + command.name;
  if (!parameters.empty()) out += " " + parameters;
  if (!command.flags.empty()) out += " [FLAG]...";
  out += std::string("\n  ") + command.about + "\n\nflags:\n" + flag_lines(command.flags) +
         flag_lines(global_flags()) + "\n" + command.help + "\n" + kExitCodes;
  return out;
}

std::string bash_completion() {
  std::string global, firsts, cases, groups;
  for (const Flag& flag : global_flags()) global += (global.empty() ? "" : " ") + std::string(flag.name);
  std::set<std::string> seen;
  for (const Command& command : commands()) {
    const std::string name = command.name;
    const std::string first = name.substr(0, name.find(' '));
    if (seen.insert(first).second) firsts += (firsts.empty() ? "" : " ") + first;
    if (first != name && seen.insert(first + " ").second) {
      std::string seconds;
      for (const Command& other : commands())
        if (std::string(other.name).starts_with(first + " "))
          seconds += (seconds.empty() ? "" : " ") + std::string(other.name).substr(first.size() + 1);
      groups += "    " + first + ") offers=\"" + seconds + " $global\" ;;\n";
    }
    cases += case_of(command);
  }
  Command none{};
  none.name = "";
  none.completes = "";
  return R"(# bash completion for infertrail; made by `infertrail completion bash`.
_infertrail() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" global offers command="" i
  global=")" + global + R"("
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${COMP_WORDS[i]}" in
      --socket|--color) ((i++)) ;;
      -*) ;;
      *) if [[ -z $command ]]; then command="${COMP_WORDS[i]}"
         elif [[ $command == target ]]; then command="$command ${COMP_WORDS[i]}"; fi ;;
    esac
  done
  case "$command" in
)" + case_of(none) + cases + groups + R"(    *) return ;;
  esac
  [[ -z $command ]] && offers=")" + firsts + R"( $offers"
  COMPREPLY=($(compgen -W "$offers" -- "$cur"))
}
complete -F _infertrail infertrail
)";
}

}  // namespace infertrail::cli
