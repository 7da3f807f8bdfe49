#include "common/ranks_file.hpp"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/concat.hpp"
#include "common/standard_streams.hpp"

namespace refrain::examples {
namespace {

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// True when the file ends inside a line, after a crash of the machine.
bool ends_inside_line(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return false;
  std::ifstream in(path, std::ios::binary);
  if (!in.seekg(-1, std::ios::end)) return false;
  return in.get() != '\n';
}

}  // namespace

OnRanks RanksFile::collect() {
  ranks_.clear();
  if (path_.empty()) return {};
  return [this](std::int64_t protocol, std::int64_t begin, std::span<const Rank> ranks) {
    for (const Rank& rank : ranks) ranks_.push_back({protocol, begin++, rank});
  };
}

void RanksFile::write(const RankedMethod& method, std::span<const std::string> protocols,
                      std::span<const std::string> users) {
  if (ranks_.empty()) return;
  std::vector<std::string> middle;  // of the lines of each protocol
  for (const std::string& protocol : protocols) {
    middle.push_back(concat(",\"task\":", json_text(method.task),
                            ",\"method\":", json_text(method.method), ",\"seed\":", method.seed,
                            ",\"protocol\":", json_text(protocol), ",\"rank\":"));
  }
  std::string lines = ends_inside_line(path_) ? "\n" : "";
  for (const auto& [protocol, example, rank] : std::exchange(ranks_, {})) {
    lines += concat("{\"user\":", json_text(users[static_cast<std::size_t>(example)]),
                    ",\"example\":", example, middle[static_cast<std::size_t>(protocol)],
                    rank.greater + 1, ",\"ties\":", rank.equal, "}\n");
  }
  std::error_code unknown;
  const std::uintmax_t size = std::filesystem::file_size(path_, unknown);
  std::ofstream out(path_, std::ios::binary | std::ios::app);
  out << lines;
  out.close();
  if (out) return;
  if (!unknown) std::filesystem::resize_file(path_, size, unknown);
  if (!std::exchange(has_failed_, true))
    say("warning: --ranks: {}: cannot be written; the run continues, the file lacks lines\n",
        path_);
}

}  // namespace refrain::examples
