// The daemon's configuration: read, defaults, ranges. The schema is policy.proto; defaults are
// documented there, field by field, and set in config.cc only.
#pragma once

#include <infertrail/policy.pb.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace infertrail {

inline constexpr char kDefaultConfigPath[] = "/etc/infertrail/config.yaml";

// Every field with its default. What depends on other fields (key_file) or on the host (origin)
// is filled in by load_config().
Config default_config();

// Defaults overlaid by the file. Only the file at `default_path` may be missing; a file that exists
// and cannot be read is an error. Ranges are not looked at here: see check_config().
Result<Config> load_config(const std::string& path,
                           const std::string& default_path = kDefaultConfigPath);

// All that is out of range, one line each. `known_detectors`: see mask/detectors.h, which this
// folder may not include. Target selectors are checked by capture/.
Status check_config(const Config& config, const std::vector<std::string>& known_detectors);

}  // namespace infertrail
