// The table of what is masked. Adding a detector is adding a row in detectors.cc: its patterns
// find candidates (Vectorscan), its validator decides on the exact bytes, its examples are tests.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace infertrail {

struct Span {
  size_t begin = 0, end = 0;
  bool operator==(const Span&) const = default;
  size_t size() const { return end - begin; }
};

// Looks at `text` around a candidate, adds the exact spans found there to `out` and returns where
// it stopped looking: candidates of the same pattern that start before are skipped, which keeps
// hostile text linear. A NUL byte separates texts: a validator must not look across one.
using Validator = size_t (*)(std::string_view text, Span candidate, std::vector<Span>* out);

// The value that makes two spellings one: "4111 1111…" and "4111-1111…".
using Normalizer = std::string (*)(std::string_view value);

struct Pattern {
  const char* expression;
  Validator validate;
};

struct Detector {
  const char* type;   // name in the configuration and in the placeholder
  const char* about;  // one sentence for people
  std::vector<Pattern> patterns;
  Normalizer normalize;
  // For a body that was cut: start of a value at the end of `text` that may go on, or npos.
  size_t (*unfinished)(std::string_view text);
  std::vector<const char*> hits;    // «…» stands around what must be masked, all of it
  std::vector<const char*> misses;  // nothing in it may be masked by this detector
};

// In order of priority: where two of one length overlap, the first gives the type.
const std::vector<Detector>& detectors();

std::vector<std::string> detector_names();

}  // namespace infertrail
