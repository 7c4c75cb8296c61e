// What goes to a person's screen: its width, colours, and recorded text made harmless. Recorded text is
// hostile: every control character, and every character that hides or reorders others, is written as an
// escape that can be seen. Thread: pure functions; print() from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace infertrail::cli {

enum class Colour { kNone, kBold, kDim, kRed, kGreen, kYellow, kCyan };

struct Style {
  bool colour = false;
  size_t width = 0;   // columns of the terminal; 0: no limit (a file, a pipe)
};

// For stdout. `when`: auto, always or never; auto = on a terminal, unless NO_COLOR is set. "always" is
// what the user just typed, so it wins over NO_COLOR.
Result<Style> style_of_stdout(const std::string& when);

// `text` must already be harmless; unchanged where the style has no colour.
std::string paint(const Style& style, Colour colour, std::string_view text);

// Columns of one character (character_width.cc): 0, 1 or 2.
size_t character_width(uint32_t code);
// Columns of a text that holds no control characters.
size_t display_width(std::string_view text);

// Recorded text on one line: \n, \t, \x1b, \u202e; bytes that are no UTF-8 as \xNN.
std::string one_line(std::string_view recorded);
// Recorded text over several lines, each behind `indent` blanks and ended by '\n'; line ends are kept,
// tabs become blanks, everything else as one_line(). "" gives "".
std::string block(std::string_view recorded, size_t indent);

// At most `columns` wide; a text that is cut ends in "…". Never cuts inside a character.
std::string cut(std::string_view text, size_t columns);

// To stdout, buffered; flush() is the only place that reports a failed write.
void print(std::string_view text);
Status flush();

}  // namespace infertrail::cli
