// A table for people: columns aligned by display width, cut to the terminal. Cells are recorded text;
// the table makes them harmless itself, so that nobody can forget it. Thread: none, a value type.
#pragma once

#include <string>
#include <vector>

#include "cli/terminal.h"

namespace infertrail::cli {

struct Column {
  const char* title;
  bool right = false;       // numbers
  size_t least = 0;         // may be cut down to this many columns; 0: is never cut
  unsigned drop = 0;        // left out when the table is too wide even so, largest first; 0: never
  size_t usual = 0;         // width where rows come one by one (fixed())
};

struct Cell {
  Cell(std::string cell_text, Colour cell_colour = Colour::kNone)   // NOLINT: implicit on purpose
      : text(std::move(cell_text)), colour(cell_colour) {}
  std::string text;
  Colour colour;
};

using Row = std::vector<Cell>;   // as many cells as columns

class Table {
 public:
  Table(std::vector<Column> columns, const Style& style);
  void add(Row row);

  size_t rows() const { return rows_.size(); }
  // Title line and rows; "" when there are no rows.
  std::string text() const;

  // For rows that come one by one: widths are the columns' `usual`, longer cells are cut on a terminal.
  std::string fixed_title() const;
  std::string fixed_row(Row row) const;

 private:
  std::vector<size_t> fit(std::vector<size_t> wanted) const;
  std::vector<size_t> usual() const;
  std::string title(const std::vector<size_t>& widths) const;
  std::string line(const Row& row, const std::vector<size_t>& widths, bool may_cut) const;

  std::vector<Column> columns_;
  Style style_;
  std::vector<Row> rows_;
};

}  // namespace infertrail::cli
