#include "serve/states_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/concat.hpp"
#include "refrain/train/replaced_file.hpp"

namespace refrain::serve {

namespace {

/// True when `path` still names the opened file.
bool is_same_file(int descriptor, const std::string& path) {
  struct stat opened = {}, named = {};
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

StatesLock::StatesLock(const std::string& path) {
  // All names of a file share one lock, even before the file exists.
  std::error_code error;
  std::filesystem::path whole = std::filesystem::absolute(path, error);
  constexpr int max_links = 40;
  for (int links = 0; links < max_links && std::filesystem::is_symlink(whole, error); ++links)
    whole = whole.parent_path() / std::filesystem::read_symlink(whole, error);
  whole = std::filesystem::weakly_canonical(whole, error);
  path_ = (error ? path : whole.string()) + ".lock";
  while (descriptor_ < 0) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0)
      throw DataError(path_, 0, examples::concat("cannot be created: ", std::strerror(errno)));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int reason = errno;
      if (reason == EINTR) {
        ::close(std::exchange(descriptor_, -1));
        continue;
      }
      if (reason == EWOULDBLOCK) {
        ::close(descriptor_);
        throw DataError(path, 0,
                        "is in use: another serve process uses these states and writes them when "
                        "it exits; stop it, or use another --states file");
      }
      is_held_ = false;
      return;
    }
    // The owner may have ended, and removed the lock, between the two calls.
    if (!is_same_file(descriptor_, path_)) ::close(std::exchange(descriptor_, -1));
  }
}

StatesLock::~StatesLock() {
  ::unlink(path_.c_str());
  ::close(descriptor_);
}

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
        if (file.peek() == std::ifstream::traits_type::eof()) return;
        throw DataError(
            path, 0,
            examples::concat("has bytes after its last line ({\"users\": ", users,
                             "}), as if two files were concatenated; use one complete file"));
      }
      const std::uint64_t count = header.at("bytes");
      if (count > size) break;
      bytes.resize(count);
      if (!file.read(bytes.data(), static_cast<std::streamsize>(count))) break;
      take(header.at("user").get<std::string>(), bytes);
      ++users;
    }
  } catch (const nlohmann::json::exception&) {
    throw DataError(
        path, 0,
        examples::concat("is not a file of users' states, or is damaged after ", users, " users"));
  }
  throw DataError(
      path, 0,
      examples::concat(
          "is truncated after ", users,
          " users; use a complete copy, or another --states file and replay the past events"));
}

}  // namespace refrain::serve
