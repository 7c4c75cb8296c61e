#include <algorithm>
#include <utility>

#include "dialect/dialect.h"
#include "dialect/openai.h"

namespace infertrail {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high << 4 | low);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

// The dialects we can read; the first that fits is used. To add one: docs/adding.md.
const std::vector<Dialect>& dialects() {
  static const std::vector<Dialect> table = {
      {"openai", fits_openai, describe_openai},
  };
  return table;
}

std::string normal_path(std::string_view target) {
  if (size_t scheme = target.find("://"); scheme != std::string_view::npos && target[0] != '/') {
    target.remove_prefix(scheme + 3);
    target.remove_prefix(std::min(target.find('/'), target.size()));
  }
  target = target.substr(0, target.find_first_of("?#"));
  std::string decoded = percent_decoded(target);
  std::vector<std::string_view> parts;
  for (size_t at = 0; at < decoded.size();) {
    size_t end = std::min(decoded.find('/', at), decoded.size());
    std::string_view part = std::string_view(decoded).substr(at, end - at);
    if (part == ".." && !parts.empty()) parts.pop_back();
    if (!part.empty() && part != "." && part != "..") parts.push_back(part);
    at = end + 1;
  }
  std::string path;
  for (std::string_view part : parts) path.append("/").append(part);
  return path.empty() ? "/" : path;
}

void add_note(std::string_view note, Inference* inference) {
  if (!inference->note().empty()) inference->mutable_note()->append("; ");
  inference->mutable_note()->append(note);
}

void describe(const Exchange& exchange, Record* record) {
  Inference* inference = record->mutable_inference();
  inference->set_dialect("unknown");
  inference->set_operation("unknown");
  inference->set_server("unknown");
  if (exchange.undecoded) return;
  std::string path = normal_path(exchange.target);
  inference->set_server(recognise_server(exchange, path));
  for (const Dialect& dialect : dialects()) {
    if (!dialect.fits(exchange, path)) continue;
    inference->set_dialect(dialect.name);
    dialect.describe(exchange, path, record);
    return;
  }
}

}  // namespace infertrail
