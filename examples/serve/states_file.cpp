#include "serve/states_file.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace refrain::serve {

void write_states(const std::string& path, const Service::States& states) {
  const std::string beside = path + ".new";
  {
    std::ofstream file(beside, std::ios::binary);
    for (const auto& [user, bytes] : states) {
      file << nlohmann::ordered_json{{"user", user}, {"bytes", bytes.size()}}.dump() << '\n' << bytes;
    }
    file << nlohmann::json{{"users", states.size()}}.dump() << '\n';
    file.flush();
    if (!file) {
      std::remove(beside.c_str());
      throw DataError(path, 0, "cannot be written");
    }
  }
  std::error_code failed;
  std::filesystem::rename(beside, path, failed);
  if (failed) throw DataError(path, 0, "cannot be replaced: " + failed.message());
}

Service::States read_states(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DataError(path, 0, "cannot be read");
  std::error_code failed;
  const std::uintmax_t size = std::filesystem::file_size(path, failed);
  if (failed) throw DataError(path, 0, "cannot be read: " + failed.message());
  Service::States states;
  try {
    for (std::string line; std::getline(file, line);) {
      const nlohmann::json header = nlohmann::json::parse(line);
      if (header.contains("users")) {
        if (header["users"] != states.size()) break;
        return states;
      }
      const std::uint64_t count = header.at("bytes");
      if (count > size) break;
      std::string bytes(count, '\0');
      if (!file.read(bytes.data(), static_cast<std::streamsize>(count))) break;
      states.emplace_back(header.at("user").get<std::string>(), std::move(bytes));
    }
  } catch (const nlohmann::json::exception& error) {
    throw DataError(path, 0, concat("after ", states.size(), " users: no states of users: ", error.what()));
  }
  throw DataError(path, 0, concat("ends early, after ", states.size(), " users"));
}

}  // namespace refrain::serve
