// The detectors' patterns compiled into one Vectorscan database. One per thread: the scratch space
// is written by each scan.
#pragma once

#include <hs/hs.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "mask/detectors.h"

namespace infertrail {

struct Hit {
  const Detector* row = nullptr;
  Span span;
};

class Scanner {
 public:
  // `names` empty: all. An unknown name is an error. Compiling takes some 10 ms.
  static Result<Scanner> make(const std::vector<std::string>& names);

  // Adds every validated hit, ordered by begin. Hits may overlap. On an error nothing was looked
  // at: the caller must treat the whole text as unsafe.
  Status find(std::string_view text, std::vector<Hit>* out);

  const Detector* row(std::string_view type) const;  // null where it is not enabled
  const std::vector<const Detector*>& rows() const { return rows_; }

 private:
  struct Source {
    const Detector* row;
    Validator validate;
  };
  struct Candidate {
    unsigned source;
    size_t begin, end;
  };
  static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned,
                      void* context);

  Owned<hs_database_t, hs_free_database> database_;
  Owned<hs_scratch_t, hs_free_scratch> scratch_;
  std::vector<Source> sources_;
  std::vector<const Detector*> rows_;
  std::vector<Candidate> candidates_;
};

}  // namespace infertrail
