#include "tools/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace quoin {
namespace {

// Columns that a UTF-8 text takes, near enough for names: one for each code point.
size_t WidthOf(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<uint8_t>(byte) & 0xc0) != 0x80;
  }));
}

std::string Padded(const std::string& text, size_t width, Table::Align align) {
  const std::string padding(width - std::min(width, WidthOf(text)), ' ');
  return align == Table::Align::kLeft ? text + padding : padding + text;
}

}  // namespace

void Table::AddRow(std::vector<std::string> cells) {
  if (cells.size() != columns_.size()) std::abort();
  rows_.push_back(std::move(cells));
}

void Table::Print() const {
  if (rows_.empty()) return;
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = WidthOf(columns_[i].heading);
    for (const auto& row : rows_) width = std::max(width, WidthOf(row[i]));
    widths.push_back(width);
  }
  const auto print_line = [&](const auto& cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += "  ";
      line += Padded(cell_of(i), widths[i], columns_[i].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print("{}\n", line);
  };
  print_line([&](size_t i) { return columns_[i].heading; });
  for (const auto& row : rows_) print_line([&](size_t i) { return row[i]; });
}

void PrintFacts(const std::vector<std::pair<std::string, std::string>>& facts) {
  size_t width = 0;
  for (const auto& [name, value] : facts) {
    if (!value.empty()) width = std::max(width, WidthOf(name) + 1);
  }
  for (const auto& [name, value] : facts) {
    if (value.empty()) continue;
    fmt::print("{}  {}\n", Padded(name + ":", width, Table::Align::kLeft), value);
  }
}

}  // namespace quoin
