// Texts made from the table of commands: help and the completion script. Pure functions.
#pragma once

#include <string>

#include "cli/arguments.h"

namespace infertrail::cli {

std::string program_help();
std::string group_help(const std::string& group);       // "target": the commands of that first word
std::string command_help(const Command& command);
std::string bash_completion();

}  // namespace infertrail::cli
