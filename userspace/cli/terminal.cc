#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace infertrail::cli {
namespace {

constexpr size_t kTabColumns = 4;

struct Character {
  uint32_t code = 0;
  size_t length = 0;   // 0: the byte is not part of valid UTF-8
};

Character character_at(std::string_view text, size_t at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) return {lead, 1};
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at < length) return {lead, 0};
  uint32_t code = lead & (0x7f >> length);
  for (size_t i = 1; i < length; i++) {
    const auto next = static_cast<uint8_t>(text[at + i]);
    if ((next & 0xc0) != 0x80) return {lead, 0};
    code = code << 6 | (next & 0x3f);
  }
  static constexpr uint32_t kLowest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLowest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {lead, 0};
  return {code, length};
}

// Control characters, and those that hide text or change its order on a screen. The joiners U+200C and
// U+200D stay: scripts and emoji need them.
bool must_escape(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0xad || code == 0x61c ||
         code == 0x180e || code == 0x200b || (code >= 0x200e && code <= 0x200f) ||
         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
         (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe007f);
}

std::string escaped(uint32_t code) {
  if (code == '\n') return "\\n";
  if (code == '\r') return "\\r";
  if (code == '\t') return "\\t";
  char out[16];
  std::snprintf(out, sizeof(out), code < 0x80 ? "\\x%02x" : code > 0xffff ? "\\U%08x" : "\\u%04x", code);
  return out;
}

const char* code_of(Colour colour) {
  switch (colour) {
    case Colour::kNone: return "";
    case Colour::kBold: return "\x1b[1m";
    case Colour::kDim: return "\x1b[2m";
    case Colour::kRed: return "\x1b[31m";
    case Colour::kGreen: return "\x1b[32m";
    case Colour::kYellow: return "\x1b[33m";
    case Colour::kCyan: return "\x1b[36m";
  }
  return "";
}

size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

Result<Style> style_of_stdout(const std::string& when) {
  if (when != "auto" && when != "always" && when != "never")
    return Error{Code::kInvalid, "--color \"" + one_line(when) + "\": use auto, always or never"};
  const bool terminal = isatty(STDOUT_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const bool forbidden = no_color && *no_color;   // no-color.org: set and not empty
  Style style;
  style.colour = when == "always" || (when == "auto" && terminal && !forbidden);
  style.width = terminal ? terminal_columns() : 0;
  return style;
}

std::string paint(const Style& style, Colour colour, std::string_view text) {
  if (!style.colour || colour == Colour::kNone || text.empty()) return std::string(text);
  return code_of(colour) + std::string(text) + "\x1b[0m";
}

size_t display_width(std::string_view text) {
  size_t columns = 0;
  for (size_t at = 0; at < text.size();) {
    const Character character = character_at(text, at);
    columns += character.length == 0 ? 1 : character_width(character.code);
    at += character.length == 0 ? 1 : character.length;
  }
  return columns;
}

std::string one_line(std::string_view recorded) {
  std::string out;
  out.reserve(recorded.size());
  for (size_t at = 0; at < recorded.size();) {
    const Character character = character_at(recorded, at);
    if (character.length == 0) {
      char hex[8];
      std::snprintf(hex, sizeof(hex), "\\x%02x", character.code);
      out += hex;
      at++;
      continue;
    }
    if (must_escape(character.code))
      out += escaped(character.code);
    else
      out += recorded.substr(at, character.length);
    at += character.length;
  }
  return out;
}

std::string block(std::string_view recorded, size_t indent) {
  std::string out;
  while (!recorded.empty()) {
    const size_t end = recorded.find('\n');
    std::string_view line = recorded.substr(0, end);
    recorded.remove_prefix(end == std::string_view::npos ? recorded.size() : end + 1);
    if (line.ends_with('\r') && end != std::string_view::npos) line.remove_suffix(1);
    std::string with_blanks;
    for (char c : line) {
      if (c == '\t')
        with_blanks.append(kTabColumns, ' ');
      else
        with_blanks += c;
    }
    if (!line.empty()) out.append(indent, ' ');
    out += one_line(with_blanks) + "\n";
  }
  return out;
}

std::string cut(std::string_view text, size_t columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns == 0) return "";
  std::string out;
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    const Character character = character_at(text, at);
    const size_t length = character.length == 0 ? 1 : character.length;
    const size_t width = character.length == 0 ? 1 : character_width(character.code);
    if (used + width > columns - 1) break;
    used += width;
    out += text.substr(at, length);
    at += length;
  }
  return out + "…";
}

void print(std::string_view text) { (void)std::fwrite(text.data(), 1, text.size(), stdout); }

Status flush() {
  if (std::fflush(stdout) == 0 && !std::ferror(stdout)) return {};
  return Error{Code::kIo, std::string("stdout: ") + std::strerror(errno)};
}

}  // namespace infertrail::cli
