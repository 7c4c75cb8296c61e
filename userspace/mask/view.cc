#include "mask/view.h"

#include <algorithm>

#include "base/bytes.h"

namespace infertrail {

View View::borrowed(std::string_view text, size_t raw) {
  View view;
  view.is_borrowed_ = true;
  view.borrowed_ = text;
  if (!text.empty()) view.pieces_.push_back({0, text.size(), raw, text.size()});
  return view;
}

void View::own() {
  if (!is_borrowed_) return;
  owned_ = std::string(borrowed_);
  is_borrowed_ = false;
}

void View::append(std::string_view text, size_t raw) {
  own();
  if (text.empty()) return;
  if (!pieces_.empty()) {
    Piece& last = pieces_.back();
    if (last.length == last.raw_length && last.raw + last.raw_length == raw &&
        last.at + last.length == owned_.size()) {
      last.length += text.size();
      last.raw_length += text.size();
      owned_.append(text);
      return;
    }
  }
  pieces_.push_back({owned_.size(), text.size(), raw, text.size()});
  owned_.append(text);
}

void View::append_decoded(std::string_view text, size_t raw, size_t raw_length) {
  own();
  pieces_.push_back({owned_.size(), text.size(), raw, raw_length});
  owned_.append(text);
}

void View::append_nowhere(std::string_view text) {
  own();
  owned_.append(text);
}

void View::append(const View& other, Span part) {
  own();
  size_t base = owned_.size();
  auto piece = std::partition_point(other.pieces_.begin(), other.pieces_.end(),
                                    [&](const Piece& p) { return p.at + p.length <= part.begin; });
  for (; piece != other.pieces_.end(); ++piece) {
    if (piece->at >= part.end && !(piece->length == 0 && piece->at == part.end)) break;
    Span overlap{std::max(piece->at, part.begin), std::min(piece->at + piece->length, part.end)};
    Piece copy{base + overlap.begin - part.begin, overlap.size(), piece->raw, piece->raw_length};
    if (piece->length == piece->raw_length) {
      copy.raw += overlap.begin - piece->at;
      copy.raw_length = overlap.size();
    }
    if (copy.raw_length > 0) pieces_.push_back(copy);
  }
  owned_.append(other.text().substr(part.begin, part.size()));
}

void View::append_decoded(std::string_view text, const View& other, Span part) {
  own();
  size_t length = text.size();
  size_t at = owned_.size();
  for (const Span& range : other.raw(part)) {
    pieces_.push_back({at, length, range.begin, range.size()});
    at += length;
    length = 0;  // further ranges belong to the same character
  }
  owned_.append(text);
}

std::vector<Span> View::raw(Span part) const {
  std::vector<Span> out;
  auto piece = std::partition_point(pieces_.begin(), pieces_.end(),
                                    [&](const Piece& p) { return p.at + p.length <= part.begin; });
  for (; piece != pieces_.end(); ++piece) {
    bool more_of_last = piece->length == 0 && piece->at == part.end && piece->at > part.begin;
    if (piece->at >= part.end && !more_of_last) break;
    Span range{piece->raw, piece->raw + piece->raw_length};
    if (piece->length == piece->raw_length) {
      size_t begin = std::max(piece->at, part.begin);
      size_t end = std::min(piece->at + piece->length, part.end);
      range = {piece->raw + begin - piece->at, piece->raw + end - piece->at};
    }
    if (!out.empty() && out.back().end == range.begin) {
      out.back().end = range.end;
    } else if (out.empty() || !(out.back() == range)) {
      out.push_back(range);
    }
  }
  return out;
}

namespace {

View decoded(const json::Document& document, const json::Node& node, const View& outer) {
  std::string_view raw = document.text().substr(node.begin + 1, node.end - node.begin - 2);
  View view;
  if (raw.find('\\') == std::string_view::npos) {
    view.append(outer, {node.begin + 1, node.end - 1});
    return view;
  }
  json::MappedString mapped = document.mapped(node);
  std::string_view text = mapped.text;
  size_t plain = 0;  // start of the run that stands as written
  for (size_t i = 0; i < text.size();) {
    size_t next = i + 1;
    while (next < text.size() && mapped.raw[next] == mapped.raw[i]) next++;
    if (mapped.raw[next] - mapped.raw[i] != next - i) {
      if (plain < i) view.append(outer, {mapped.raw[plain], mapped.raw[i]});
      view.append_decoded(text.substr(i, next - i), outer, {mapped.raw[i], mapped.raw[next]});
      plain = next;
    }
    i = next;
  }
  if (plain < text.size()) view.append(outer, {mapped.raw[plain], mapped.raw[text.size()]});
  return view;
}

}  // namespace

View string_view_of(const json::Document& document, const json::Node& node, const View& outer) {
  return decoded(document, node, outer);
}

View key_view_of(const json::Document& document, const json::Node& node, const View& outer) {
  json::Node key = node;  // json.h maps string nodes: the name as one, with its quotes
  key.type = json::Type::kString;
  key.begin = node.key_begin - 1;
  key.end = node.key_end + 1;
  return decoded(document, key, outer);
}

View unescaped(const View& outer) {
  std::string_view text = outer.text();
  View view;
  size_t plain = 0;
  for (size_t i = 0; i + 1 < text.size();) {
    size_t length = text[i] != '\\' ? 0 : text[i + 1] == 'u' ? 6 : 2;
    std::string literal = length == 0 ? "" : "\"" + std::string(text.substr(i, length)) + "\"";
    // The scanner knows which escapes there are; a surrogate's half becomes U+FFFD, as no pattern
    // looks for what is beyond the first plane.
    auto escape = json::Document::parse(literal);
    if (length == 0 || !escape.ok()) {
      i += 1;
      continue;
    }
    if (plain < i) view.append(outer, {plain, i});
    view.append_decoded(escape.value().string(escape.value().root()), outer, {i, i + length});
    i += length;
    plain = i;
  }
  if (plain < text.size()) view.append(outer, {plain, text.size()});
  return view;
}

namespace {
bool percent_escape_at(std::string_view text, size_t i) {
  return text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
         hex_digit(text[i + 2]) >= 0;
}
}  // namespace

bool has_percent_escape(std::string_view text) {
  for (size_t i = text.find('%'); i != std::string_view::npos; i = text.find('%', i + 1))
    if (percent_escape_at(text, i)) return true;
  return false;
}

View percent_decoded(const View& outer, bool form) {
  std::string_view text = outer.text();
  View view;
  size_t plain = 0;
  for (size_t i = 0; i < text.size(); i++) {
    bool space = form && text[i] == '+';
    if (!space && !percent_escape_at(text, i)) continue;
    char byte =
        space ? ' ' : static_cast<char>(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
    size_t length = space ? 1 : 3;
    if (plain < i) view.append(outer, {plain, i});
    view.append_decoded(std::string_view(&byte, 1), outer, {i, i + length});
    i += length - 1;
    plain = i + 1;
  }
  if (plain < text.size()) view.append(outer, {plain, text.size()});
  return view;
}

}  // namespace infertrail
