#include "src/server/patch_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "refrain/core/error.hpp"

namespace refrain::detail {

OpenFile::~OpenFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

PatchFolder::PatchFolder(const std::string& folder, std::int64_t largest)
    : folder_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)), largest_(largest) {
  if (folder_.descriptor() < 0)
    throw OptionError(concat("folder of patches '", folder, "': ", std::strerror(errno)));
}

OpenFile PatchFolder::open(const std::string& name) const {
  const bool is_plain = !name.empty() && name != "." && name != ".." &&
                        name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
  if (!is_plain) {
    throw OptionError(
        concat("expected the plain name of a file in the folder of patches, got '", name, "'"));
  }
  // O_NONBLOCK: opening a pipe does not wait for its writer.
  constexpr int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  OpenFile file(::openat(folder_.descriptor(), name.c_str(), flags));
  if (file.descriptor() < 0) {
    throw OptionError(errno == ELOOP
                          ? concat("patch '", name, "': expected a regular file, got a link")
                          : concat("patch '", name, "': ", std::strerror(errno)));
  }
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0)
    throw OptionError(concat("patch '", name, "': ", std::strerror(errno)));
  if (!S_ISREG(status.st_mode))
    throw OptionError(concat("patch '", name, "': expected a regular file"));
  if (status.st_size > largest_) {
    throw OptionError(
        concat("patch '", name, "': expected at most ", largest_, " bytes, got ", status.st_size));
  }
  return file;
}

}  // namespace refrain::detail
