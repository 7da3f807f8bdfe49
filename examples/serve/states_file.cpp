#include "serve/states_file.hpp"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "refrain/train/replaced_file.hpp"

namespace refrain::serve {

void expect_writable(const std::string& path) { const ReplacedFile removed_again(path); }

void write_states(const std::string& path, const Service& service) {
  constexpr std::size_t block_bytes = std::size_t{1} << 20;
  ReplacedFile file(path);
  std::string block;
  std::uint64_t users = 0;
  service.save([&](const std::string& user, std::string_view bytes) {
    block += nlohmann::ordered_json{{"user", user}, {"bytes", bytes.size()}}.dump() + '\n';
    block += bytes;
    ++users;
    if (block.size() < block_bytes) return;
    file.write(block.data(), block.size());
    block.clear();
  });
  block += nlohmann::json{{"users", users}}.dump() + '\n';
  file.write(block.data(), block.size());
  file.commit();
}

void read_states(const std::string& path, const Service::TakeState& take) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DataError(path, 0, "cannot be read");
  std::error_code failed;
  const std::uintmax_t size = std::filesystem::file_size(path, failed);
  if (failed) throw DataError(path, 0, "cannot be read: " + failed.message());
  std::uint64_t users = 0;
  std::string bytes;
  try {
    for (std::string line; std::getline(file, line);) {
      const nlohmann::json header = nlohmann::json::parse(line);
      if (header.contains("users")) {
        if (header["users"] != users) break;
        return;
      }
      const std::uint64_t count = header.at("bytes");
      if (count > size) break;
      bytes.resize(count);
      if (!file.read(bytes.data(), static_cast<std::streamsize>(count))) break;
      take(header.at("user").get<std::string>(), bytes);
      ++users;
    }
  } catch (const nlohmann::json::exception&) {
    throw DataError(path, 0,
                    concat("after ", users, " users: is no file of users' states, or damaged"));
  }
  throw DataError(path, 0,
                  concat("ends early, after ", users,
                         " users: it was cut short; give a whole copy of it, or another --states "
                         "file and the past "
                         "events once more"));
}

}  // namespace refrain::serve
