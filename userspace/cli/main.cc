// infertrail: the command line; commands.h is what runs.
#include <signal.h>
#include <time.h>

#include <string>
#include <vector>

#include "cli/commands.h"

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_DFL);   // `infertrail log | head` ends quietly, whatever our parent ignored
  tzset();
  return infertrail::cli::run_program(std::vector<std::string>(argv + 1, argv + argc));
}
