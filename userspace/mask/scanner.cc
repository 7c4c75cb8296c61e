#include "mask/scanner.h"

#include <algorithm>

#include "base/bytes.h"

namespace infertrail {

Result<Scanner> Scanner::make(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    auto known = detector_names();
    if (std::find(known.begin(), known.end(), name) == known.end())
      return Error{Code::kInvalid, "there is no detector \"" + name + "\""};
  }
  Scanner scanner;
  std::vector<const char*> expressions;
  std::vector<unsigned> flags, ids;
  for (const Detector& row : detectors()) {
    if (!names.empty() && std::find(names.begin(), names.end(), row.type) == names.end()) continue;
    scanner.rows_.push_back(&row);
    for (const Pattern& pattern : row.patterns) {
      ids.push_back(static_cast<unsigned>(scanner.sources_.size()));
      scanner.sources_.push_back({&row, pattern.validate});
      expressions.push_back(pattern.expression);
      flags.push_back(HS_FLAG_SOM_LEFTMOST | HS_FLAG_DOTALL);
    }
  }
  hs_database_t* database = nullptr;
  hs_compile_error_t* failure = nullptr;
  if (hs_compile_multi(expressions.data(), flags.data(), ids.data(),
                       static_cast<unsigned>(ids.size()), HS_MODE_BLOCK, nullptr, &database,
                       &failure) != HS_SUCCESS) {
    Owned<hs_compile_error_t, hs_free_compile_error> owned(failure);
    return Error{Code::kUnsupported, std::string("compile detectors: ") + failure->message};
  }
  scanner.database_.reset(database);
  hs_scratch_t* scratch = nullptr;
  if (hs_alloc_scratch(database, &scratch) != HS_SUCCESS)
    return Error{Code::kExhausted, "compile detectors: no memory for the scratch space"};
  scanner.scratch_.reset(scratch);
  return scanner;
}

int Scanner::on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned,
                      void* context) {
  auto& candidates = *static_cast<std::vector<Candidate>*>(context);
  candidates.push_back({id, static_cast<size_t>(from), static_cast<size_t>(to)});
  return 0;
}

Status Scanner::find(std::string_view text, std::vector<Hit>* out) {
  candidates_.clear();
  if (text.empty()) return {};
  if (text.size() > UINT32_MAX) return Error{Code::kExhausted, "text above 4 GiB"};
  hs_error_t code = hs_scan(database_.get(), text.data(), static_cast<unsigned>(text.size()), 0,
                            scratch_.get(), on_match, &candidates_);
  if (code != HS_SUCCESS)
    return Error{Code::kExhausted, "pattern engine failed with code " + std::to_string(code)};
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.source, a.begin, a.end) < std::tie(b.source, b.begin, b.end);
  });
  std::vector<Span> spans;
  unsigned source = UINT32_MAX;
  size_t looked = 0;
  for (const Candidate& candidate : candidates_) {
    if (candidate.source != source) looked = 0;
    source = candidate.source;
    if (candidate.begin < looked) continue;
    spans.clear();
    looked = sources_[source].validate(text, {candidate.begin, candidate.end}, &spans);
    for (const Span& span : spans) out->push_back({sources_[source].row, span});
  }
  std::stable_sort(out->begin(), out->end(),
                   [](const Hit& a, const Hit& b) { return a.span.begin < b.span.begin; });
  return {};
}

const Detector* Scanner::row(std::string_view type) const {
  for (const Detector* row : rows_)
    if (row->type == type) return row;
  return nullptr;
}

}  // namespace infertrail
