// Takes personal data and secrets out of a record before it is written. Fails closed: a part that
// could not be scanned is replaced whole and named in mask.not_run.
// One per thread: it owns the pattern engine's scratch space.
#pragma once

#include <infertrail/record.pb.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "mask/batch.h"
#include "mask/scanner.h"

namespace infertrail {

class Masker {
 public:
  // Names of detectors.h; empty = all. Credentials in headers, parameters and flags, and members
  // named like secrets, are masked whatever is chosen.
  static Result<Masker> make(const std::vector<std::string>& detectors);

  // Edits in place every field that can hold payload or secrets. [[TYPE:n]]: n counts the distinct
  // values of a type in this record; one value has one n in all fields.
  // mask.counts: places replaced in target, headers, bodies, command lines, notes and event facts.
  // `inference` repeats what the bodies say: it is masked too, and not counted.
  // Masking a masked record changes nothing.
  void mask(Record* record);

 private:
  explicit Masker(Scanner scanner) : scanner_(std::move(scanner)) {}

  enum class Shape { kText, kTarget, kCommandLine, kCredential };
  struct Job {  // of one mask() call
    Mask* mask = nullptr;
    Placeholders names;
    std::set<std::pair<std::string, std::string>> extra_values;  // see Batch::Outcome
  };
  void finish(Batch* batch, const std::string& where, bool counted, std::string* text, Job* job);
  void mask_text(Shape shape, const std::string& where, bool counted, std::string* text, Job* job);
  void mask_body(const std::string& where, Body* body, Job* job);
  void mask_http(Http* http, Job* job);
  void mask_derived(google::protobuf::Message* message, Job* job);  // every string below it

  Scanner scanner_;
};

}  // namespace infertrail
