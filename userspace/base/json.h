// A JSON scanner that keeps the byte span of every value, so that a reader can take facts out and
// the masker can edit the original bytes in place. RFC 8259; tolerant of nothing: text that is not
// JSON is an error with its byte offset. Input is hostile: depth and node count are bounded.
//
// Ownership: a Document borrows the text; it must not outlive it. Thread: none, a value type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace infertrail::json {

enum class Type : uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };

inline constexpr uint32_t kNone = UINT32_MAX;

struct Node {
  Type type = Type::kNull;
  uint32_t parent = kNone;
  uint32_t first_child = kNone;
  uint32_t next = kNone;               // next sibling
  size_t begin = 0, end = 0;           // bytes of the value; a string's quotes are inside
  size_t key_begin = 0, key_end = 0;   // bytes of the member's name without quotes, still escaped;
                                       // equal where the parent is not an object
};

// A decoded string and, for each decoded byte, the raw offset in the text where the character that
// it belongs to starts; `raw` has one more element, the offset of the closing quote.
struct MappedString {
  std::string text;
  std::vector<uint32_t> raw;
};

struct Limits {
  size_t max_depth = 128;
  size_t max_nodes = 4u << 20;
};

class Document {
 public:
  // `offset_of_error` inside the message: "byte 17: expected ':'".
  static Result<Document> parse(std::string_view text, const Limits& limits = {});

  const std::vector<Node>& nodes() const { return nodes_; }   // document order; [0] is the root
  const Node& root() const { return nodes_[0]; }
  std::string_view text() const { return text_; }
  const Node& at(uint32_t index) const { return nodes_[index]; }
  uint32_t index_of(const Node& node) const { return static_cast<uint32_t>(&node - nodes_.data()); }

  // Member of an object by decoded name (the last one of duplicates, as most servers do), or null.
  const Node* find(const Node& object, std::string_view key) const;
  // find() along a path of names.
  const Node* find(const Node& object, std::initializer_list<std::string_view> path) const;
  const Node* child(const Node& node) const;   // first child or null
  const Node* next(const Node& node) const;    // next sibling or null

  std::string_view raw(const Node& node) const;            // the bytes as written
  std::string key(const Node& node) const;                 // decoded member name
  std::string string(const Node& node) const;              // decoded; "" when not a string
  MappedString mapped(const Node& node) const;             // decoded with its raw offsets
  std::optional<int64_t> integer(const Node& node) const;  // numbers without fraction only
  bool boolean(const Node& node, bool otherwise = false) const;

 private:
  std::string_view text_;
  std::vector<Node> nodes_;
};

// The text between quotes of a JSON string, escaped so that it may be put into one.
std::string escape(std::string_view text);

}  // namespace infertrail::json
