// For tests and benches without a kernel: every process below a number is a target, and nothing is attached.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "capture/target_events.h"

namespace infertrail {

class AllTargets : public TargetEvents {
 public:
  explicit AllTargets(uint32_t below = UINT32_MAX) : below_(below) {}
  void on_exec(uint32_t, const ProcessFacts&, uint32_t) override {}
  void on_fork(uint32_t, uint32_t) override {}
  void on_exit(uint32_t) override {}
  void on_mapped(uint32_t) override {}
  void on_listen(uint32_t, uint16_t) override {}
  void on_refused_tls(uint32_t) override {}
  void attach_pending() override {}
  bool is_target(uint32_t tgid) const override { return tgid < below_; }
  std::map<uint64_t, std::array<uint64_t, 2>> stream_ends(uint32_t) const override { return {}; }
  std::vector<abi::small_reads> waiting_reads(uint32_t) const override { return {}; }

 private:
  uint32_t below_;
};

}  // namespace infertrail
