#include "fuzz/program.hpp"

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

namespace refrain::fuzz {
namespace {

namespace fs = std::filesystem;

/// A folder that is removed when the program exits normally.
class Folder {
 public:
  Folder() {
    const fs::path in_memory = "/dev/shm";
    path_ = (fs::is_directory(in_memory) ? in_memory : fs::temp_directory_path()) /
            detail::concat("refrain-fuzz-", ::getpid());
    fs::create_directory(path_);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

/// --write-seeds=FOLDER: writes the target's seeds and ends the program.
void write_seeds(const std::string& folder) {
  fs::create_directories(folder);
  int number = 0;
  for (const std::string& seed : seeds()) {
    std::ofstream out(fs::path(folder) / detail::concat("seed-", number++), std::ios::binary);
    out << seed;
    require(out.flush().good(), "the seeds can be written");
  }
}

}  // namespace

const std::string& file_with(const std::string& name, std::string_view text) {
  static const Folder folder;
  static std::map<std::string, std::string> paths;
  std::string& path = paths[name];
  if (path.empty()) path = folder.path(name);
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  require(file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size() &&
              std::fclose(file) == 0,
          "the input can be written to a file");
  return path;
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const unsigned lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80         ? 1
                               : (lead >> 5) == 6  ? 2
                               : (lead >> 4) == 14 ? 3
                               : (lead >> 3) == 30 ? 4
                                                   : 0;
    if (length == 0 || at + length > text.size()) return false;
    unsigned code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
      const unsigned more = static_cast<unsigned char>(text[at + i]);
      if ((more >> 6) != 2) return false;
      code = code << 6 | (more & 63);
    }
    const std::size_t needed = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (needed != length || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return false;
    at += length;
  }
  return true;
}

std::string contents_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace refrain::fuzz

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  constexpr std::string_view flag = "--write-seeds=";
  for (int i = 1; i < *count; ++i) {
    const std::string_view argument = (*arguments)[i];
    if (!argument.starts_with(flag)) continue;
    refrain::fuzz::write_seeds(std::string(argument.substr(flag.size())));
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  refrain::fuzz::try_input({reinterpret_cast<const char*>(data), size});
  return 0;
}
