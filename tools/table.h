// Rows of text with aligned columns, for terminals. Owned by the verb that fills and prints it.
#pragma once

#include <string>
#include <vector>

namespace quoin {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string heading;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column.
  void AddRow(std::vector<std::string> cells);
  // To standard output: the headings and all rows; nothing if there is no row.
  void Print() const;

 private:
  const std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "name:     value" lines, the values below each other; lines without a value are left out.
void PrintFacts(const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace quoin
