#include "base/json.h"

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>

namespace infertrail::json {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// One pass, no recursion: the stack holds the open containers, so depth costs heap, not stack.
class Parser {
 public:
  Parser(std::string_view text, const Limits& limits, std::vector<Node>* nodes)
      : text_(text), limits_(limits), nodes_(nodes) {}

  bool run() {
    for (;;) {
      if (!value()) return false;
      if (opened_) continue;
      if (!after_value()) return false;
      if (stack_.empty()) break;
    }
    skip_space();
    return pos_ == text_.size() || fail("the end of the text");
  }

  Error error() const {
    return {Code::kInvalid, "byte " + std::to_string(pos_) + ": expected " + expected_};
  }

 private:
  struct Open {
    uint32_t node = 0;
    uint32_t last_child = kNone;
  };

  bool fail(std::string expected) {
    expected_ = std::move(expected);
    return false;
  }
  char peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }
  void skip_space() {
    while (pos_ < text_.size() && (text_[pos_] == ' ' || text_[pos_] == '\t' ||
                                   text_[pos_] == '\n' || text_[pos_] == '\r'))
      pos_++;
  }

  bool add(Type type) {
    if (nodes_->size() >= limits_.max_nodes)
      return fail("at most " + std::to_string(limits_.max_nodes) + " values");
    Node node;
    node.type = type;
    node.begin = pos_;
    node.key_begin = key_begin_;
    node.key_end = key_end_;
    key_begin_ = key_end_ = 0;
    auto index = static_cast<uint32_t>(nodes_->size());
    if (!stack_.empty()) {
      Open& open = stack_.back();
      node.parent = open.node;
      uint32_t& link = open.last_child == kNone ? (*nodes_)[open.node].first_child
                                                : (*nodes_)[open.last_child].next;
      link = index;
      open.last_child = index;
    }
    nodes_->push_back(node);
    return true;
  }

  // Reads a scalar, or opens a container; `opened_` says that its first value comes next.
  bool value() {
    opened_ = false;
    skip_space();
    char c = peek();
    if (c == '{') return open(Type::kObject);
    if (c == '[') return open(Type::kArray);
    Type type = Type::kNull;
    if (c == '"') {
      type = Type::kString;
    } else if (c == '-' || is_digit(c)) {
      type = Type::kNumber;
    } else if (c == 't' || c == 'f') {
      type = Type::kBool;
    } else if (c != 'n') {
      return fail("a value");
    }
    if (!add(type)) return false;
    size_t index = nodes_->size() - 1;
    bool good = type == Type::kString   ? string()
                : type == Type::kNumber ? number()
                                        : literal(c == 't'   ? "true"
                                                  : c == 'f' ? "false"
                                                             : "null");
    (*nodes_)[index].end = pos_;
    return good;
  }

  bool open(Type type) {
    if (stack_.size() >= limits_.max_depth)
      return fail("at most " + std::to_string(limits_.max_depth) + " levels of nesting");
    if (!add(type)) return false;
    stack_.push_back({static_cast<uint32_t>(nodes_->size() - 1), kNone});
    pos_++;
    skip_space();
    if (peek() == (type == Type::kObject ? '}' : ']')) return true;  // after_value() closes it
    if (type == Type::kObject && !name()) return false;
    opened_ = true;
    return true;
  }

  // After a value or an empty container: closes what ends here, or goes on to the next value.
  bool after_value() {
    while (!stack_.empty()) {
      skip_space();
      Open& open = stack_.back();
      bool object = (*nodes_)[open.node].type == Type::kObject;
      char c = peek();
      if (c == (object ? '}' : ']')) {
        pos_++;
        (*nodes_)[open.node].end = pos_;
        stack_.pop_back();
        continue;
      }
      if (c != ',') return fail(object ? "',' or '}'" : "',' or ']'");
      pos_++;
      skip_space();
      return !object || name();
    }
    return true;
  }

  bool name() {
    if (peek() != '"') return fail("a name in quotes");
    size_t begin = pos_ + 1;
    if (!string()) return false;
    key_begin_ = begin;
    key_end_ = pos_ - 1;
    skip_space();
    if (peek() != ':') return fail("':'");
    pos_++;
    return true;
  }

  bool string() {
    pos_++;
    while (skip_plain(), pos_ < text_.size()) {
      auto c = static_cast<unsigned char>(text_[pos_]);
      if (c == '"') {
        pos_++;
        return true;
      }
      if (c < 0x20) return fail("an escape instead of a control character");
      pos_++;
      if (c == '\\' && !escape_sequence()) return false;
    }
    return fail("'\"'");
  }

  // Over bytes of a string that are neither its end, an escape nor a control character: eight at a
  // time; string() looks at what is left one by one.
  void skip_plain() {
    constexpr uint64_t kOnes = 0x0101010101010101u, kHigh = 0x8080808080808080u;
    auto zero_byte = [](uint64_t v) { return (v - kOnes) & ~v & kHigh; };
    for (uint64_t word; pos_ + sizeof(word) <= text_.size(); pos_ += sizeof(word)) {
      std::memcpy(&word, text_.data() + pos_, sizeof(word));
      const uint64_t control = (word - kOnes * 0x20) & ~word & kHigh;
      const uint64_t stops = control | zero_byte(word ^ (kOnes * '"')) | zero_byte(word ^ (kOnes * '\\'));
      if (stops == 0) continue;
      // The lowest mark is never a false one; it is the first byte where memory begins at the low end.
      if constexpr (std::endian::native == std::endian::little)
        pos_ += static_cast<size_t>(std::countr_zero(stops)) / 8;
      return;
    }
  }

  bool escape_sequence() {
    char c = peek();
    if (c == '\0' || std::string_view("\"\\/bfnrtu").find(c) == std::string_view::npos)
      return fail("one of \"\\/bfnrtu after the backslash");
    pos_++;
    if (c != 'u') return true;
    for (int i = 0; i < 4; i++, pos_++) {
      if (!is_hex(peek())) return fail("a hex digit");
    }
    return true;
  }

  bool digits() {
    if (!is_digit(peek())) return fail("a digit");
    while (is_digit(peek())) pos_++;
    return true;
  }

  bool number() {
    if (peek() == '-') pos_++;
    if (peek() == '0') {
      pos_++;
    } else if (!digits()) {
      return false;
    }
    if (peek() == '.') {
      pos_++;
      if (!digits()) return false;
    }
    if (peek() == 'e' || peek() == 'E') {
      pos_++;
      if (peek() == '+' || peek() == '-') pos_++;
      if (!digits()) return false;
    }
    return true;
  }

  bool literal(std::string_view word) {
    if (text_.substr(pos_, word.size()) != word) return fail(std::string(word));
    pos_ += word.size();
    return true;
  }

  std::string_view text_;
  const Limits& limits_;
  std::vector<Node>* nodes_;
  std::vector<Open> stack_;
  size_t pos_ = 0;
  size_t key_begin_ = 0, key_end_ = 0;
  bool opened_ = false;
  std::string expected_;
};

}  // namespace

Result<Document> Document::parse(std::string_view text, const Limits& limits) {
  // MappedString and Node::parent hold 32-bit offsets.
  if (text.size() >= UINT32_MAX)
    return Error{Code::kExhausted, "byte 4294967295: expected a text below 4 GiB"};
  Document document;
  document.text_ = text;
  Parser parser(text, limits, &document.nodes_);
  if (!parser.run()) return parser.error();
  return document;
}

const Node* Document::find(const Node& object, std::string_view key) const {
  if (object.type != Type::kObject) return nullptr;
  const Node* found = nullptr;
  for (const Node* member = child(object); member != nullptr; member = next(*member)) {
    std::string_view raw_key = text_.substr(member->key_begin, member->key_end - member->key_begin);
    bool escaped = raw_key.find('\\') != std::string_view::npos;
    if (escaped ? this->key(*member) == key : raw_key == key) found = member;
  }
  return found;
}

const Node* Document::find(const Node& object, std::initializer_list<std::string_view> path) const {
  const Node* node = &object;
  for (std::string_view name : path) {
    node = find(*node, name);
    if (node == nullptr) return nullptr;
  }
  return node;
}

const Node* Document::child(const Node& node) const {
  return node.first_child == kNone ? nullptr : &nodes_[node.first_child];
}

const Node* Document::next(const Node& node) const {
  return node.next == kNone ? nullptr : &nodes_[node.next];
}

std::string_view Document::raw(const Node& node) const {
  return text_.substr(node.begin, node.end - node.begin);
}

std::optional<int64_t> Document::integer(const Node& node) const {
  if (node.type != Type::kNumber) return std::nullopt;
  std::string_view digits = raw(node);
  int64_t value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

bool Document::boolean(const Node& node, bool otherwise) const {
  return node.type == Type::kBool ? raw(node) == "true" : otherwise;
}

}  // namespace infertrail::json
