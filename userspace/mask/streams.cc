#include "mask/streams.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "mask/texts.h"

namespace infertrail {
namespace {

constexpr std::string_view kPlainEvents = "(text)";

// Members that repeat in each event and are never text in pieces.
bool constant_name(std::string_view name) {
  static constexpr std::array<std::string_view, 12> kNames = {"id",
                                                              "object",
                                                              "model",
                                                              "created",
                                                              "type",
                                                              "role",
                                                              "name",
                                                              "status",
                                                              "item_id",
                                                              "finish_reason",
                                                              "system_fingerprint",
                                                              "created_at"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// Which of several interleaved texts an object belongs to: "{index=0}".
std::string marks_of(const json::Document& document, const json::Node& object, bool root) {
  static constexpr std::array<std::string_view, 5> kMarks = {
      "index", "output_index", "content_index", "summary_index", "item_id"};
  std::string marks;
  for (const json::Node* member = document.child(object); member != nullptr;
       member = document.next(*member)) {
    std::string_view name =
        document.text().substr(member->key_begin, member->key_end - member->key_begin);
    bool mark =
        std::find(kMarks.begin(), kMarks.end(), name) != kMarks.end() || (root && name == "type");
    bool scalar = member->type == json::Type::kNumber || member->type == json::Type::kString;
    if (mark && scalar && member->end - member->begin <= 128)
      marks += "{" + std::string(name) + "=" + std::string(document.raw(*member)) + "}";
  }
  return marks;
}

std::vector<std::string> paths_of(const json::Document& document) {
  const auto& nodes = document.nodes();
  std::vector<std::string> paths(nodes.size());
  for (size_t i = 0; i < nodes.size(); i++) {
    if (nodes[i].type == json::Type::kObject) paths[i] += marks_of(document, nodes[i], i == 0);
    size_t position = 0;
    for (const json::Node* child = document.child(nodes[i]); child != nullptr;
         child = document.next(*child), position++) {
      std::string& path = paths[document.index_of(*child)];
      if (nodes[i].type == json::Type::kObject) {
        path = paths[i] + "." +
               std::string(
                   document.text().substr(child->key_begin, child->key_end - child->key_begin));
      } else {
        // An element that says its index is told by that: events name only what they change.
        bool marked =
            child->type == json::Type::kObject && document.find(*child, "index") != nullptr;
        path = paths[i] + (marked ? "[]" : "[" + std::to_string(position) + "]");
      }
    }
  }
  return paths;
}

}  // namespace

void Streams::add_document(const json::Document& document, const View& event) {
  std::vector<std::string> paths = paths_of(document);
  const auto& nodes = document.nodes();
  for (size_t i = 0; i < nodes.size(); i++) {
    const json::Node& node = nodes[i];
    if (node.key_end > node.key_begin) {
      add_name(document, node, event, batch_);
      force_by_name(document, node, event, 0, batch_);
    }
    if (node.type == json::Type::kNumber) add_number(document, node, event, 0, batch_);
    if (node.type != json::Type::kString) continue;
    View text = string_view_of(document, node, event);
    std::string_view name = document.text().substr(node.key_begin, node.key_end - node.key_begin);
    if (constant_name(name)) {
      add_text(text, 1, false, batch_);
    } else if (!text.text().empty()) {
      pieces_[paths[i]].push_back(std::move(text));
    }
  }
}

void Streams::add(const View& event) {
  if (event.text() == "[DONE]") return;
  auto document = json::Document::parse(event.text());
  if (document.ok()) return add_document(document.value(), event);
  pieces_[std::string(kPlainEvents)].push_back(event);
}

void Streams::finish() {
  for (const auto& entry : pieces_) {
    const std::vector<View>& pieces = entry.second;
    bool repeated = pieces.size() > 2 && pieces[0].text().size() >= 5 &&
                    std::all_of(pieces.begin(), pieces.end(),
                                [&](const View& v) { return v.text() == pieces[0].text(); });
    if (pieces.size() == 1 || repeated) {  // a constant such as the user's name, not pieces
      for (const View& piece : pieces) add_text(piece, 1, truncated_, batch_);
      continue;
    }
    View whole;
    for (const View& piece : pieces) whole.append(piece);
    bool json = add_text(whole, 1, truncated_, batch_);
    if (json) continue;  // pieces of JSON text mean nothing on their own
    for (const View& piece : pieces)
      if (piece.text().size() >= 6) batch_->add(piece, Batch::Kind::kFragment);
  }
}

}  // namespace infertrail
