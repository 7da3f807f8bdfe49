#include "src/sorted_rows.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <queue>
#include <utility>

namespace refrain::detail {
namespace {

/// The next row of one file.
struct Source {
  BufferedReader file;
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::string user{};

  /// Reads the head of the next row; false at the end.
  bool next() {
    if (file.at_end()) return false;
    first = file.get<std::int64_t>();
    count = file.get<std::int64_t>();
    user.resize(static_cast<std::size_t>(file.get<std::uint64_t>()));
    file.read(user.data(), user.size());
    return true;
  }

  void copy_row(RowSink& sink) {
    std::array<std::int32_t, 1024> items;
    sink.begin_row(first, user, count);
    for (std::int64_t left = count; left > 0;) {
      const std::size_t taken = std::min(items.size(), static_cast<std::size_t>(left));
      file.read(items.data(), taken * sizeof items[0]);
      sink.add(std::span(items).first(taken));
      left -= static_cast<std::int64_t>(taken);
    }
    sink.end_row();
  }
};

}  // namespace

void merge_rows(const std::vector<std::string>& paths, std::size_t buffer_bytes, RowSink& sink,
                const std::function<void(std::int64_t)>& on_rows) {
  std::vector<Source> sources;
  using Place = std::pair<std::int64_t, std::size_t>;  // `first`, and the number of the file
  std::priority_queue<Place, std::vector<Place>, std::greater<>> queue;
  for (const std::string& path : paths) {
    sources.push_back({.file = BufferedReader(path, buffer_bytes)});
    if (sources.back().next()) queue.emplace(sources.back().first, sources.size() - 1);
  }
  constexpr std::int64_t rows_between_calls = 1 << 16;
  for (std::int64_t rows = 1; !queue.empty(); ++rows) {
    Source& source = sources[queue.top().second];
    const std::size_t number = queue.top().second;
    queue.pop();
    source.copy_row(sink);
    if (source.next()) queue.emplace(source.first, number);
    if (on_rows && rows % rows_between_calls == 0) on_rows(rows);
  }
  sources.clear();
  for (const std::string& path : paths) remove_file(path);
}

}  // namespace refrain::detail
