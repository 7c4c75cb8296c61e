// Helpers of the masking tests.
#pragma once

#include <gtest/gtest.h>
#include <infertrail/record.pb.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "mask/masker.h"

namespace infertrail {

inline Masker& masker() {
  static Result<Masker> all = Masker::make({});
  IT_CHECK(all.ok());
  return all.value();
}

inline Record masked(Record record) {
  masker().mask(&record);
  return record;
}

inline Record with_body(std::string body, const std::string& type, bool truncated = false) {
  Record record;
  record.mutable_response()->set_body(std::move(body));
  record.mutable_response()->set_content_type(type);
  record.mutable_response()->set_truncated(truncated);
  return record;
}

inline std::string masked_body(std::string body, const std::string& type = "application/json",
                               bool truncated = false) {
  return masked(with_body(std::move(body), type, truncated)).response().body();
}

inline bool is_json(std::string_view text) {
  return json::Document::parse(text).ok();
}

inline uint32_t count(const Record& record, const std::string& type) {
  auto at = record.mask().counts().find(type);
  return at == record.mask().counts().end() ? 0 : at->second;
}

}  // namespace infertrail
