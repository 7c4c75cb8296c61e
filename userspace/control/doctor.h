// What this kernel can do, what each target's coverage lacks, and what to do about it.
#pragma once

#include <functional>

#include "capture/probes.h"
#include "capture/targets.h"
#include "control/coverage_view.h"
#include "infertrail/control.pb.h"

namespace infertrail {

// `status`: what the daemon says of itself. `coverage`: by process.
void fill_doctor(const Probes& probes, const Targets& targets, const StatusReply& status,
                 const std::function<ProcessCoverage(uint32_t)>& coverage, DoctorReply* out);

}  // namespace infertrail
