#include "cli/table.h"

#include <algorithm>
#include <cstdint>

namespace infertrail::cli {
namespace {

constexpr size_t kBetween = 2;        // blanks between columns
constexpr size_t kLeftOut = SIZE_MAX;

size_t total(const std::vector<size_t>& widths) {
  size_t sum = 0, shown = 0;
  for (size_t width : widths)
    if (width != kLeftOut) {
      sum += width;
      shown++;
    }
  return sum + (shown > 1 ? (shown - 1) * kBetween : 0);
}

Row harmless(Row row) {
  for (Cell& cell : row) cell.text = one_line(cell.text);
  return row;
}

}  // namespace

Table::Table(std::vector<Column> columns, const Style& style)
    : columns_(std::move(columns)), style_(style) {}

void Table::add(Row row) {
  IT_CHECK(row.size() == columns_.size());
  rows_.push_back(harmless(std::move(row)));
}

// Takes from the widest column that may give until it fits; then leaves columns out.
std::vector<size_t> Table::fit(std::vector<size_t> widths) const {
  if (style_.width == 0) return widths;
  while (total(widths) > style_.width) {
    size_t widest = kLeftOut;
    for (size_t i = 0; i < columns_.size(); i++) {
      if (widths[i] == kLeftOut || columns_[i].least == 0 || widths[i] <= columns_[i].least) continue;
      if (widest == kLeftOut || widths[i] > widths[widest]) widest = i;
    }
    if (widest != kLeftOut) {
      widths[widest]--;
      continue;
    }
    size_t least_wanted = kLeftOut;
    for (size_t i = 0; i < columns_.size(); i++) {
      if (widths[i] == kLeftOut || columns_[i].drop == 0) continue;
      if (least_wanted == kLeftOut || columns_[i].drop > columns_[least_wanted].drop) least_wanted = i;
    }
    if (least_wanted == kLeftOut) break;   // too narrow for anything: the terminal wraps
    widths[least_wanted] = kLeftOut;
  }
  return widths;
}

std::string Table::line(const Row& row, const std::vector<size_t>& widths, bool may_cut) const {
  std::string out;
  size_t blanks = 0;   // owed before the next text: so that no line ends in blanks
  bool first = true;
  for (size_t i = 0; i < row.size(); i++) {
    if (widths[i] == kLeftOut) continue;
    if (!first) blanks += kBetween;
    first = false;
    const std::string text = may_cut ? cut(row[i].text, widths[i]) : row[i].text;
    const size_t used = display_width(text);
    const size_t rest = widths[i] > used ? widths[i] - used : 0;
    if (columns_[i].right) blanks += rest;
    if (!text.empty()) {
      out.append(blanks, ' ');
      out += paint(style_, row[i].colour, text);
      blanks = 0;
    }
    if (!columns_[i].right) blanks += rest;
  }
  return out + "\n";
}

std::string Table::title(const std::vector<size_t>& widths) const {
  Row titles;
  for (const Column& column : columns_) titles.emplace_back(column.title, Colour::kBold);
  return line(titles, widths, true);
}

std::string Table::text() const {
  if (rows_.empty()) return "";
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(display_width(column.title));
  for (const Row& row : rows_)
    for (size_t i = 0; i < row.size(); i++)
      widths[i] = std::max(widths[i], display_width(row[i].text));
  widths = fit(std::move(widths));
  std::string out = title(widths);
  for (const Row& row : rows_) out += line(row, widths, true);
  return out;
}

std::vector<size_t> Table::usual() const {
  std::vector<size_t> widths;
  for (const Column& column : columns_)
    widths.push_back(std::max(column.usual, display_width(column.title)));
  return fit(std::move(widths));
}

std::string Table::fixed_title() const { return title(usual()); }

std::string Table::fixed_row(Row row) const {
  IT_CHECK(row.size() == columns_.size());
  return line(harmless(std::move(row)), usual(), style_.width != 0);
}

}  // namespace infertrail::cli
