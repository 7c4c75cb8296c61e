#include "mask/texts.h"

#include <algorithm>

#include "base/bytes.h"
#include "mask/validators.h"

namespace infertrail {
namespace {

bool may_be_json(std::string_view text) {
  text = trim(text);
  if (text.size() < 2) return false;
  return (text.front() == '{' && text.back() == '}') ||
         (text.front() == '[' && text.back() == ']') || (text.front() == '"' && text.back() == '"');
}

}  // namespace

bool add_text(const View& view, int depth, bool may_go_on, Batch* batch) {
  std::string_view text = view.text();
  if (depth < kMaxJsonInside && may_be_json(text)) {
    auto document = json::Document::parse(text);
    if (document.ok()) {
      add_document(document.value(), view, depth, batch);
      return true;
    }
  }
  batch->add(view, Batch::Kind::kText, may_go_on);
  View current = view;
  for (int i = 0; i < 2 && current.text().find('\\') != std::string_view::npos; i++) {
    current = unescaped(current);
    batch->add(current, Batch::Kind::kText, may_go_on);
  }
  if (has_percent_escape(text))
    batch->add(percent_decoded(view, false), Batch::Kind::kText, may_go_on);
  return false;
}

void add_name(const json::Document& document, const json::Node& node, const View& outer,
              Batch* batch) {
  if (node.key_end - node.key_begin < 6) return;
  std::string_view name = document.text().substr(node.key_begin, node.key_end - node.key_begin);
  bool word = std::all_of(name.begin(), name.end(), [](char c) { return is_alpha(c) || c == '_'; });
  if (!word) add_text(key_view_of(document, node, outer), kMaxJsonInside, false, batch);
}

void add_number(const json::Document& document, const json::Node& node, const View& outer,
                int depth, Batch* batch) {
  std::string_view digits = document.raw(node);
  if (digits.front() == '-') digits.remove_prefix(1);
  if (digits.size() < 13 || digits.size() > 19 ||
      !std::all_of(digits.begin(), digits.end(), is_digit))
    return;
  View view;
  view.append(outer, {node.begin, node.end});
  batch->add(view, Batch::Kind::kNumber, false, depth);
}

void force_by_name(const json::Document& document, const json::Node& node, const View& outer,
                   int depth, Batch* batch) {
  size_t size = node.key_end - node.key_begin;
  bool string = node.type == json::Type::kString;
  if (size < 3 || size > 40 || !(string || node.type == json::Type::kNumber)) return;
  std::string name = document.key(node);
  bool secret = string && is_secret_name(name, false);
  bool ssn = !secret && is_ssn_name(name);
  if (!secret && !ssn) return;
  View value;
  if (string) {
    value = string_view_of(document, node, outer);
  } else {
    value.append(outer, {node.begin, node.end});
  }
  if (secret) batch->force("SECRET", value);
  if (ssn && plausible_ssn(digits_only(value.text())))
    batch->force("US_SSN", value, string ? Batch::Kind::kText : Batch::Kind::kNumber, depth);
}

// Token lists of log probabilities hold the answer again, in pieces: {"tokens":["41","11"]} or
// [{"token":"41"},{"token":"11"}].
void add_tokens(const json::Document& document, const json::Node& array, const View& outer,
                Batch* batch) {
  View joined;
  size_t pieces = 0;
  for (const json::Node* item = document.child(array); item != nullptr;
       item = document.next(*item)) {
    const json::Node* token = item;
    if (item->type == json::Type::kObject) {
      token = document.find(*item, "token");
      if (token == nullptr) token = document.find(*item, "tok_str");
      if (token == nullptr) token = document.find(*item, "piece");
    }
    if (token == nullptr || token->type != json::Type::kString) return;
    joined.append(string_view_of(document, *token, outer));
    pieces++;
  }
  if (pieces > 1) batch->add(joined);
}

void add_document(const json::Document& document, const View& outer, int depth, Batch* batch) {
  for (const json::Node& node : document.nodes()) {
    if (node.key_end > node.key_begin) {
      add_name(document, node, outer, batch);
      force_by_name(document, node, outer, depth, batch);
    }
    if (node.type == json::Type::kArray) {
      const json::Node* first = document.child(node);
      bool objects = first != nullptr && first->type == json::Type::kObject;
      if (objects || document.key(node) == "tokens") add_tokens(document, node, outer, batch);
    }
    if (node.type == json::Type::kString)
      add_text(string_view_of(document, node, outer), depth + 1, false, batch);
    if (node.type == json::Type::kNumber) add_number(document, node, outer, depth, batch);
  }
}

}  // namespace infertrail
