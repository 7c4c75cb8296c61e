// What is seen of a process, as the command line is told. Filled by the daemon's coverage ledger.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace infertrail {

struct ProcessCoverage {
  uint64_t plain = 0;       // connections in the clear
  uint64_t tls = 0;         // connections that carry TLS
  uint64_t read = 0;        // of these: joined to a TLS object whose plaintext comes
  uint64_t dark = 0;        // of these: ciphertext was seen and no plaintext, and that is told in a record
  uint64_t incomplete = 0;  // of these: ended with less plaintext than ciphertext
};

struct CoverageTotals {
  ProcessCoverage connections;
  uint64_t dark_now = 0;    // connections that are open and dark
};

}  // namespace infertrail
