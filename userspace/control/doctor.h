// What this kernel can do, what each target's coverage lacks, and what to do about it.
#pragma once

#include "capture/probes.h"
#include "capture/targets.h"
#include "infertrail/control.pb.h"

namespace infertrail {

void fill_doctor(const Probes& probes, const Targets& targets, DoctorReply* out);

}  // namespace infertrail
