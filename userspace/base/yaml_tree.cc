#include "base/yaml_tree.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "base/bytes.h"
#include "base/utf8.h"

namespace infertrail::yaml {
namespace {

constexpr size_t kMaxText = 1u << 20;
constexpr size_t kMaxValues = 100000;
constexpr size_t kMaxDepth = 32;

Place place_of(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {mark.line + 1, mark.column + 1};
}

// Builds our own tree from events: yaml-cpp's would follow aliases and lose duplicate keys' places.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(std::vector<Problem>* problems) : problems_(problems) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 2) problem(mark, "a second document starts; exactly one is expected");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Value value = make(Value::Kind::kNull, mark, "", anchor);
    add(std::move(value));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    problem(mark, "aliases (*name) are not supported; write the value out");
    Value value = make(Value::Kind::kNull, mark, "", 0);
    add(std::move(value));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    Value value = make(Value::Kind::kScalar, mark, tag, anchor);
    value.scalar = text;
    value.quoted = tag == "!";
    if (value.quoted) last_quoted_ = value.place;
    add(std::move(value));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(make(Value::Kind::kList, mark, tag, anchor));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(make(Value::Kind::kMap, mark, tag, anchor));
  }
  void OnMapEnd() override { close(); }

  int documents() const { return documents_; }
  Place last_quoted() const { return last_quoted_; }  // line 0: there is none
  Value take() { return std::move(root_); }

 private:
  struct Open {
    Value value;
    std::vector<Value> keys;  // of a map: the key that waits for its value
  };

  void problem(const YAML::Mark& mark, std::string text) {
    problems_->push_back({place_of(mark), std::move(text)});
  }

  Value make(Value::Kind kind, const YAML::Mark& mark, const std::string& tag,
             YAML::anchor_t anchor) {
    if (anchor != 0) problem(mark, "anchors (&name) are not supported; write the value out");
    if (!tag.empty() && tag != "?" && tag != "!")
      problem(mark, "tags (!type) are not supported; the field decides the type");
    if (++values_ == kMaxValues + 1)
      problem(mark, "more than " + std::to_string(kMaxValues) + " values");
    Value value;
    value.kind = kind;
    value.place = place_of(mark);
    return value;
  }

  bool full() const { return values_ > kMaxValues || documents_ > 1; }

  void open(Value value) {
    if (stack_.size() == kMaxDepth)
      problems_->push_back(
          {value.place, "nested too deeply; at most " + std::to_string(kMaxDepth) + " levels"});
    stack_.push_back({std::move(value), {}});
  }

  void close() {
    Value value = std::move(stack_.back().value);
    stack_.pop_back();
    add(std::move(value));
  }

  void add(Value value) {
    if (full()) return;
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& open = stack_.back();
    if (open.value.kind == Value::Kind::kList) {
      open.value.items.push_back(std::move(value));
    } else if (open.keys.empty()) {
      open.keys.push_back(std::move(value));
    } else {
      open.value.members.push_back({std::move(open.keys.back()), std::move(value)});
      open.keys.clear();
    }
  }

  std::vector<Problem>* problems_;
  std::vector<Open> stack_;
  Value root_;
  Place last_quoted_{0, 0};
  size_t values_ = 0;
  int documents_ = 0;
};

// yaml-cpp ends its input, silently, at byte 4, and guesses UTF-16 from leading zeros.
bool plain_text(std::string_view text, std::vector<Problem>* problems) {
  if (text.size() > kMaxText) {
    problems->push_back({{}, "larger than " + format_bytes(kMaxText)});
    return false;
  }
  Place place;
  for (size_t i = 0; i < text.size(); i++) {
    auto c = static_cast<unsigned char>(text[i]);
    bool line_end = c == '\n' || (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
    bool control = (c < 0x20 && !line_end && c != '\t') || c == 0x7F;
    if (control) {
      problems->push_back({place, "control character 0x" + hex(text.substr(i, 1))});
      return false;
    }
    place.column = c == '\n' ? 1 : place.column + 1;
    if (c == '\n') place.line++;
  }
  place = {};
  for (size_t at = 0; at < text.size(); place.line++) {
    size_t end = std::min(text.find('\n', at), text.size());
    if (!is_utf8(text.substr(at, end - at))) {
      problems->push_back({place, "this line is not UTF-8 text"});
      return false;
    }
    at = end + 1;
  }
  return true;
}

// yaml-cpp takes a quote that is never closed for closed where the text ends in a line end. Only
// the last quoted scalar can be that one.
bool closed(std::string_view text, Place place) {
  size_t at = text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  for (int line = 1; line < place.line; line++) at = text.find('\n', at) + 1;
  at += static_cast<size_t>(place.column - 1);
  char quote = at < text.size() ? text[at] : '\0';
  if (quote != '"' && quote != '\'') return true;  // the mark of a tag, which is refused anyway
  for (at++; at < text.size(); at++) {
    if (quote == '"' && text[at] == '\\') {
      at++;
    } else if (text[at] == quote) {
      if (quote == '"' || at + 1 == text.size() || text[at + 1] != quote) return true;
      at++;  // '' inside of '…'
    }
  }
  return false;
}

}  // namespace

Value parse(std::string_view text, std::vector<Problem>* problems) {
  if (!plain_text(text, problems)) return {};
  Builder builder(problems);
  std::istringstream stream{std::string(text)};
  try {  // yaml-cpp throws on bad syntax; nothing leaves this function
    YAML::Parser parser(stream);
    while (builder.documents() < 2 && parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::DeepRecursion& error) {
    if (problems->empty()) problems->push_back({place_of(error.mark), "nested too deeply"});
  } catch (const YAML::Exception& error) {
    problems->push_back({place_of(error.mark), error.msg});
  } catch (const std::exception& error) {
    problems->push_back({{}, std::string("cannot be read: ") + error.what()});
  }
  Place quoted = builder.last_quoted();
  if (problems->empty() && quoted.line > 0 && !closed(text, quoted))
    problems->push_back({quoted, "this quote is never closed"});
  if (problems->empty() && builder.documents() == 0)
    problems->push_back({{}, "empty; exactly one document is expected"});
  return builder.take();
}

}  // namespace infertrail::yaml
