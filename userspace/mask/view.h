// Text as a reader understands it (unescaped, joined over events, percent-decoded), with the raw
// bytes that each part of it came from. One decoded character may stand in several places: an
// escape that was cut by the border of two events.
// Ownership: a View made by borrowed() refers to the text it was given, and so do its copies.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "mask/detectors.h"

namespace infertrail {

class View {
 public:
  View() = default;
  static View borrowed(std::string_view text, size_t raw);

  void append(std::string_view text, size_t raw);  // as it stands at `raw`
  void append_decoded(std::string_view text, size_t raw, size_t raw_length);  // one character
  void append_nowhere(std::string_view text);  // not part of the raw bytes
  void append(const View& other, Span part);
  void append(const View& other) { append(other, {0, other.text().size()}); }
  // One character, decoded from `part` of another view.
  void append_decoded(std::string_view text, const View& other, Span part);

  std::string_view text() const { return is_borrowed_ ? borrowed_ : std::string_view(owned_); }
  // The raw bytes of `part`, as few ranges as possible, in the order of the text.
  std::vector<Span> raw(Span part) const;

 private:
  struct Piece {
    size_t at, length;       // in the text; length 0: more raw bytes of the character before
    size_t raw, raw_length;  // equal lengths: byte for byte; otherwise all or nothing
  };
  void own();

  bool is_borrowed_ = false;
  std::string_view borrowed_;
  std::string owned_;
  std::vector<Piece> pieces_;
};

// The decoded text of a string of a document that was parsed from outer.text().
View string_view_of(const json::Document& document, const json::Node& node, const View& outer);
View key_view_of(const json::Document& document, const json::Node& node, const View& outer);

// What JSON escapes mean, in text that need not be JSON: \uXXXX \/ \" \n; others stay.
View unescaped(const View& outer);
// What %XX means; '+' is a space where `form`.
View percent_decoded(const View& outer, bool form);

bool has_percent_escape(std::string_view text);

}  // namespace infertrail
