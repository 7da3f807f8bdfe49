#pragma once
/// The support matrix of docs/kernels.md against the dispatch tables.
///
/// Names come from the declarations in table.hpp, and whether an entry is filled from the table's
/// memory: a Table is Entries of one size, in the order of their declarations, and one function
/// pointer behind them. So nothing is listed a second time.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "refrain/kernels/table.hpp"
#include "support/source_dir.hpp"

namespace refrain::test {

struct TableEntry {
  std::string name;
  bool is_filled;
};

inline std::string text_of(const std::string& path) {
  std::ifstream file(source_dir() + "/" + path);
  if (!file) throw std::runtime_error("cannot read " + path);
  return (std::ostringstream() << file.rdbuf()).str();
}

/// Every entry of a table, in the order of declaration.
inline std::vector<TableEntry> entries_of(const kernels::Table& table) {
  using AnyEntry = kernels::Entry<kernels::Matmul>;
  constexpr std::size_t count =
      (sizeof(kernels::Table) - sizeof(kernels::Table::packed_bytes)) / sizeof(AnyEntry);
  static_assert(count * sizeof(AnyEntry) + sizeof(kernels::Table::packed_bytes) ==
                sizeof(kernels::Table));
  const std::string header = text_of("include/refrain/kernels/table.hpp");
  const std::regex declaration(R"(\n  Entry<\w+> (\w+)\{\};)");
  std::vector<TableEntry> entries;
  for (std::sregex_iterator found(header.begin(), header.end(), declaration), end; found != end;
       ++found) {
    void (*run)() = nullptr;  // the first member of an entry
    const std::size_t at = entries.size();
    if (at < count)
      std::memcpy(&run, reinterpret_cast<const std::byte*>(&table) + at * sizeof(AnyEntry),
                  sizeof run);
    entries.push_back({(*found)[1], run != nullptr});
  }
  if (entries.size() != count)
    throw std::runtime_error(
        concat("table.hpp declares ", entries.size(), " entries, a table has ", count));
  return entries;
}

/// One row of the matrix.
struct MatrixRow {
  std::vector<std::string> names;
  std::string cpu;
  std::string cuda;
};

/// The rows of the first table of a page that begins with "| entry | CPU | CUDA |".
inline std::vector<MatrixRow> matrix_rows(const std::string& page) {
  std::vector<MatrixRow> rows;
  std::istringstream lines(page);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (!inside) {
      inside = line.starts_with("| entry | CPU | CUDA |");
      continue;
    }
    if (!line.starts_with("|")) break;
    if (line.starts_with("|---")) continue;
    std::vector<std::string> cells;
    std::istringstream parts(line.substr(1));
    for (std::string cell; std::getline(parts, cell, '|');) {
      const std::size_t first = cell.find_first_not_of(' ');
      cells.push_back(first == std::string::npos
                          ? ""
                          : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
    }
    if (cells.size() < 3) throw std::runtime_error("support matrix: a row of few columns: " + line);
    MatrixRow row{.names = {}, .cpu = cells[1], .cuda = cells[2]};
    const std::regex quoted("`([^`]+)`");
    for (std::sregex_iterator found(cells[0].begin(), cells[0].end(), quoted), end; found != end;
         ++found) {
      row.names.push_back((*found)[1]);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// True for "f32, f64" and more behind it: what a column says of an entry that the device has.
inline bool names_types(std::string_view cell) {
  return cell == "f32" || cell.starts_with("f32,") || cell.starts_with("f32 (");
}

/// True for what may stand in place of an entry: words that give a reason and end in a full stop.
inline bool is_sentence(std::string_view cell) {
  return !names_types(cell) && cell.ends_with('.') &&
         std::count(cell.begin(), cell.end(), ' ') >= 2;
}

/// What is wrong with a column of the matrix; nothing when it agrees with the table.
inline std::vector<std::string> matrix_problems(const std::string& page,
                                                const std::vector<TableEntry>& entries,
                                                std::string MatrixRow::*column) {
  std::vector<std::string> problems;
  std::map<std::string, std::vector<std::string>> cells;  // of each name
  for (const MatrixRow& row : matrix_rows(page)) {
    if (row.names.empty()) problems.emplace_back("a row names no entry");
    for (const std::string& name : row.names) cells[name].push_back(row.*column);
  }
  for (const TableEntry& entry : entries) {
    const auto found = cells.find(entry.name);
    if (found == cells.end()) {
      problems.push_back(entry.name + ": has no row");
      continue;
    }
    if (found->second.size() != 1) problems.push_back(entry.name + ": has several rows");
    const std::string& cell = found->second.front();
    if (entry.is_filled && !names_types(cell)) {
      problems.push_back(entry.name + ": is in the table; expected \"f32, ...\", found \"" + cell +
                         "\"");
    } else if (!entry.is_filled && !is_sentence(cell)) {
      problems.push_back(entry.name +
                         ": is not in the table; expected a sentence that says why, found \"" +
                         cell + "\"");
    }
    cells.erase(found);
  }
  for (const auto& [name, unused] : cells) problems.push_back(name + ": has a row and is no entry");
  return problems;
}

}  // namespace refrain::test
