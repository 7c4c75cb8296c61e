#include "cli/help.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "cli/commands.h"

namespace infertrail::cli {
namespace {

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Help, EveryCommandIsInTheProgramsHelp) {
  for (const Command& command : commands()) EXPECT_TRUE(has(program_help(), std::string("  ") + command.name));
  EXPECT_TRUE(has(program_help(), "3 the daemon does not answer"));
}

TEST(Help, EveryCommandTellsItsFlagsAndShowsAnExample) {
  for (const Command& command : commands()) {
    const std::string help = command_help(command);
    for (const Flag& flag : command.flags) EXPECT_TRUE(has(help, flag.name)) << command.name << flag.name;
    EXPECT_TRUE(has(help, "--socket PATH")) << command.name;
    EXPECT_TRUE(has(help, std::string("infertrail ") + command.name + " ") ||
                has(help, std::string("infertrail ") + command.name + "\n"))
        << command.name;
    EXPECT_TRUE(has(command.help, std::string("infertrail ") + command.name)) << "no example: " << command.name;
    EXPECT_FALSE(has(help, "\t"));
  }
}

TEST(Help, TargetAddExplainsEverySelector) {
  for (const Command& command : commands()) {
    if (std::string(command.name) != "target add") continue;
    for (const char* form : {"auto ", "pid=", "exe=", "comm=", "cmdline~=", "cgroup=", "port=", "unit="})
      EXPECT_TRUE(has(command_help(command), std::string("\n  ") + form)) << form;
  }
  EXPECT_TRUE(has(group_help("target"), "target discover"));
}

TEST(Completion, ListsEveryCommandAndFlag) {
  const std::string script = bash_completion();
  for (const Command& command : commands()) {
    const size_t begin = script.find("    \"" + std::string(command.name) + "\")");
    ASSERT_NE(begin, std::string::npos) << command.name;
    const std::string part = script.substr(begin, script.find("$global\" ;;", begin) - begin);
    const std::string offers = part.substr(part.rfind("offers="));
    for (const Flag& flag : command.flags) EXPECT_TRUE(has(offers, flag.name)) << command.name << flag.name;
  }
  for (const Flag& flag : global_flags()) EXPECT_TRUE(has(script, flag.name)) << flag.name;
}

TEST(Completion, TheInstalledScriptIsTheOneThatIsPrinted) {
  auto installed = read_file(std::string(IT_SOURCE_DIR) + "/scripts/completion/infertrail.bash");
  ASSERT_TRUE(installed.ok()) << installed.error().message;
  EXPECT_EQ(installed.value(), bash_completion())
      << "run: infertrail completion bash > scripts/completion/infertrail.bash";
}

}  // namespace
}  // namespace infertrail::cli
