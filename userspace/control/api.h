// What the control socket answers (control.proto). Handlers are thread-safe: each log query opens
// its own reader.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "capture/probes.h"
#include "capture/targets.h"
#include "control/coverage_view.h"
#include "control/server.h"
#include "infertrail/control.pb.h"
#include "trail/writer.h"

namespace infertrail {

struct ApiSources {
  Probes& probes;
  Targets& targets;
  trail::TrailWriter& writer;
  std::string trail_dir;
  std::function<void(StatusReply*)> fill_status;   // what only the daemon knows
  std::function<ProcessCoverage(uint32_t pid)> coverage;
  // Called after a change of targets, to put it into the trail.
  std::function<void(const std::string& what, const std::string& selector, uid_t by)> on_change;
  std::function<bool()> stopping;
};

std::vector<HttpRoute> api_routes(ApiSources sources);

// Coverage in words: plain | tls:<library> | no traffic | TLS NOT VISIBLE …
std::string coverage_words(const TargetInfo& info, const ProcessCoverage& seen);

}  // namespace infertrail
