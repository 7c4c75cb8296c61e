// The daemon's command line, laid over its configuration file.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "infertrail/policy.pb.h"

namespace infertrail {

struct Options {
  Config config;
  bool check_only = false, detach = false, help = false, version = false;
};

// Errors say which argument is wrong and name the nearest known one.
Result<Options> parse_options(int argc, char** argv);
std::string usage();

}  // namespace infertrail
