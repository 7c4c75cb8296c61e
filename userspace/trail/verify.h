// The offline verifier: re-derives everything that a trail claims from the leaf entries in its
// segments and compares it, byte by byte, with what is on disk. Needs no key but the public one, no
// daemon, and no index. Works beside a writer: it checks the checkpoint it saw first, and starts
// again when files were replaced under its hands. Thread: one per call. Owner: nothing outlives the
// call.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace infertrail::trail {

struct VerifyOptions {
  std::string vkey_file;         // empty: <dir>/log.vkey. Give one kept elsewhere when you can.
  std::string older_checkpoint;  // file; finds ROLLBACK and FORK. Empty: none.
};

struct VerifyReport {
  std::string origin;
  uint64_t size = 0;  // published entries
  std::string root_base64;
  uint64_t unpublished = 0;  // sequenced behind them: checked, not yet published
  uint64_t records = 0;      // bodies compared with their leaves
  uint64_t bytes = 0;        // of segments
  std::string torn_tail;     // empty, or "segments/…: torn tail at offset N: not acknowledged"
};

// Called now and then with the entries done so far.
using VerifyProgress = std::function<void(uint64_t entries)>;

// The error names the first file, and entry where there is one, that is wrong.
Result<VerifyReport> verify_trail(const std::string& trail_dir, const VerifyOptions& options = {},
                                  const VerifyProgress& progress = {});

}  // namespace infertrail::trail
