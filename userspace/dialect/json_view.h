// A value of a JSON document that may be absent or of another type than hoped for: every question
// has an answer, so that a reader of hostile JSON needs no checks. Borrows the document.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/utf8.h"

namespace infertrail {

class JsonView {
 public:
  JsonView() = default;
  explicit JsonView(const json::Document& document) : JsonView(document, &document.root()) {}

  JsonView operator[](std::string_view key) const {
    return node_ == nullptr ? JsonView() : JsonView(*document_, document_->find(*node_, key));
  }
  // Absent and null are the same.
  explicit operator bool() const { return node_ != nullptr && node_->type != json::Type::kNull; }
  bool is(json::Type type) const { return node_ != nullptr && node_->type == type; }
  std::string text() const { return node_ == nullptr ? "" : to_utf8(document_->string(*node_)); }
  // The JSON as written.
  std::string raw() const { return node_ == nullptr ? "" : to_utf8(document_->raw(*node_)); }
  int64_t integer(int64_t otherwise) const {
    return node_ == nullptr ? otherwise : document_->integer(*node_).value_or(otherwise);
  }
  uint32_t count() const {  // a number of things: not negative, at most 2^32-1
    return static_cast<uint32_t>(std::clamp<int64_t>(integer(0), 0, UINT32_MAX));
  }
  bool boolean() const { return node_ != nullptr && document_->boolean(*node_); }

  // Calls each(JsonView) for the elements of an array; for nothing else.
  template <typename Each>
  void each(Each each) const {
    if (!is(json::Type::kArray)) return;
    for (const json::Node* at = document_->child(*node_); at != nullptr; at = document_->next(*at))
      each(JsonView(*document_, at));
  }

 private:
  JsonView(const json::Document& document, const json::Node* node)
      : document_(&document), node_(node) {}

  const json::Document* document_ = nullptr;
  const json::Node* node_ = nullptr;
};

}  // namespace infertrail
