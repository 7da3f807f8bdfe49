#pragma once
/// Compares the support matrix of docs/kernels.md with the tables of the devices.

#include <algorithm>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/entries.hpp"
#include "refrain/refrain.hpp"
#include "support/source_dir.hpp"

namespace refrain::test {

struct TableEntry {
  std::string name;
  std::string absent{};  ///< the reason for an absent kernel

  bool is_filled() const { return absent.empty(); }
};

inline std::string text_of(const std::string& path) {
  std::ifstream file(source_dir() + "/" + path);
  if (!file) throw std::runtime_error("cannot read " + path);
  return (std::ostringstream() << file.rdbuf()).str();
}

/// Every entry of a table, in the order of the list of contracts.
inline std::vector<TableEntry> entries_of(const kernels::Table& table) {
  std::vector<TableEntry> entries;
  table.for_each([&]<class Args>(const kernels::Entry<Args>& entry) {
    if (entry) {
      entries.push_back({Args::name});
    } else {
      entries.push_back({Args::name, entry.absent == nullptr ? "no reason" : entry.absent});
    }
  });
  return entries;
}

/// The entries of a device's table, also in a build without the device's backend.
template <Device device>
std::vector<TableEntry> entries_on() {
  std::vector<TableEntry> entries;
  kernels::Table{}.for_each([&]<class Args>(const kernels::Entry<Args>&) {
    const char* const reason = kernels::absent<device, Args>;
    entries.push_back({Args::name, reason == nullptr ? "" : reason});
  });
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

/// True for "f32, f64" and text after it: a column's statement about an entry that the device has.
inline bool names_types(std::string_view cell) {
  return cell == "f32" || cell.starts_with("f32,") || cell.starts_with("f32 (");
}

/// True for a sentence, the reason for an absent entry.
inline bool is_sentence(std::string_view text) {
  return !names_types(text) && text.ends_with('.') &&
         std::count(text.begin(), text.end(), ' ') >= 2;
}

/// The differences between a column of the matrix and the table; empty when they agree.
inline std::vector<std::string> matrix_problems(const std::string& page,
                                                const std::vector<TableEntry>& entries,
                                                std::string MatrixRow::*column) {
  std::vector<std::string> problems;
  std::map<std::string, std::vector<std::string>> cells;  // by name
  for (const MatrixRow& row : matrix_rows(page)) {
    if (row.names.empty()) problems.emplace_back("a row has no entry");
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
    if (entry.is_filled() && !names_types(cell)) {
      problems.push_back(entry.name + ": is in the table; expected \"f32, ...\", found \"" + cell +
                         "\"");
    } else if (!entry.is_filled() && cell != entry.absent) {
      problems.push_back(entry.name + ": is not in the table; expected \"" + entry.absent +
                         "\", found \"" + cell + "\"");
    }
    if (!entry.is_filled() && !is_sentence(entry.absent))
      problems.push_back(entry.name + ": the reason is no sentence: \"" + entry.absent + "\"");
    cells.erase(found);
  }
  for (const auto& [name, unused] : cells) problems.push_back(name + ": has a row but no entry");
  return problems;
}

}  // namespace refrain::test
