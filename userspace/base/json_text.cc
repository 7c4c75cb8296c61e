// The text inside JSON strings: decoding of checked escapes, offsets back to the bytes as written.
#include "base/json.h"

namespace infertrail::json {
namespace {

uint32_t hex_value(char c) {
  if (c <= '9') return static_cast<uint32_t>(c - '0');
  return static_cast<uint32_t>((c | 0x20) - 'a' + 10);
}

void append_utf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out->push_back(static_cast<char>(0xC0 | code >> 6));
    out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else if (code < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | code >> 12));
    out->push_back(static_cast<char>(0x80 | (code >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | code >> 18));
    out->push_back(static_cast<char>(0x80 | (code >> 12 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

uint32_t hex4(std::string_view text, size_t at) {
  uint32_t code = 0;
  for (size_t i = 0; i < 4; i++) code = code << 4 | hex_value(text[at + i]);
  return code;
}

// Decodes the escape at `at` (a backslash of checked text) and returns the bytes it takes.
size_t decode_escape(std::string_view text, size_t at, size_t end, std::string* out) {
  char c = text[at + 1];
  if (c != 'u') {
    static constexpr std::string_view kFrom = "bfnrt", kTo = "\b\f\n\r\t";
    size_t known = kFrom.find(c);
    out->push_back(known == std::string_view::npos ? c : kTo[known]);
    return 2;
  }
  uint32_t code = hex4(text, at + 2);
  if (code >= 0xD800 && code < 0xDC00 && at + 12 <= end && text[at + 6] == '\\' &&
      text[at + 7] == 'u') {
    uint32_t low = hex4(text, at + 8);
    if (low >= 0xDC00 && low < 0xE000) {
      append_utf8(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), out);
      return 12;
    }
  }
  append_utf8(code >= 0xD800 && code < 0xE000 ? 0xFFFD : code, out);
  return 6;
}

// Length of the UTF-8 character at `at` judged by its shape; 1 for a byte that starts none.
size_t character_length(std::string_view text, size_t at, size_t end) {
  auto lead = static_cast<unsigned char>(text[at]);
  size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1;
  if (at + want > end) return 1;
  for (size_t i = 1; i < want; i++)
    if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return 1;
  return want;
}

std::string decode(std::string_view text, size_t begin, size_t end) {
  std::string out;
  out.reserve(end - begin);
  while (begin < end) {
    size_t slash = text.substr(begin, end - begin).find('\\');
    if (slash == std::string_view::npos) slash = end - begin;
    out.append(text.substr(begin, slash));
    begin += slash;
    if (begin < end) begin += decode_escape(text, begin, end, &out);
  }
  return out;
}

}  // namespace

std::string Document::key(const Node& node) const {
  return decode(text_, node.key_begin, node.key_end);
}

std::string Document::string(const Node& node) const {
  if (node.type != Type::kString) return "";
  return decode(text_, node.begin + 1, node.end - 1);
}

MappedString Document::mapped(const Node& node) const {
  MappedString out;
  if (node.type != Type::kString) return out;
  size_t at = node.begin + 1, end = node.end - 1;
  out.text.reserve(end - at);
  out.raw.reserve(end - at + 1);
  while (at < end) {
    size_t taken = 0;
    if (text_[at] == '\\') {
      taken = decode_escape(text_, at, end, &out.text);
    } else {
      taken = character_length(text_, at, end);
      out.text.append(text_.substr(at, taken));
    }
    out.raw.resize(out.text.size(), static_cast<uint32_t>(at));
    at += taken;
  }
  out.raw.push_back(static_cast<uint32_t>(end));
  return out;
}

std::string escape(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  static constexpr std::string_view kFrom = "\"\\\b\f\n\r\t", kTo = "\"\\bfnrt";
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    size_t known = kFrom.find(c);
    if (known != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(kTo[known]);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out.append("\\u00");
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace infertrail::json
