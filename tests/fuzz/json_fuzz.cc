#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "fuzz/fuzz.h"

namespace infertrail::fuzz {

// Parses or not; spans are inside the text and nested; decoding agrees with its map; what was
// decoded and escaped again decodes to the same.
void json(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto parsed = json::Document::parse(text);
  if (!parsed.ok()) {
    IT_CHECK(parsed.error().message.starts_with("byte "));
    return;
  }
  const json::Document& document = parsed.value();
  for (const json::Node& node : document.nodes()) {
    IT_CHECK(node.begin < node.end && node.end <= size && node.key_end <= size);
    if (node.parent != json::kNone) {
      const json::Node& parent = document.at(node.parent);
      IT_CHECK(parent.begin < node.begin && node.end < parent.end);
    }
    if (node.type == json::Type::kString) {
      json::MappedString mapped = document.mapped(node);
      IT_CHECK(mapped.text == document.string(node) && mapped.raw.size() == mapped.text.size() + 1);
      for (uint32_t raw : mapped.raw) IT_CHECK(raw > node.begin && raw < node.end);
      std::string again = "\"" + json::escape(mapped.text) + "\"";
      auto second = json::Document::parse(again);
      IT_CHECK(second.ok() && second.value().string(second.value().root()) == mapped.text);
    }
    (void)document.integer(node);
    if (node.type == json::Type::kObject && node.first_child != json::kNone)
      IT_CHECK(document.find(node, document.key(*document.child(node))) != nullptr);
  }
}

}  // namespace infertrail::fuzz

IT_FUZZ_ENTRY(json)
