#pragma once
/// States of all users in one file.

#include <string>

#include "serve/service.hpp"

namespace refrain::serve {

/// A line of JSON, {"user": "u1", "bytes": 4711}, and so many bytes, for each user; a last line {"users": 2}.
/// At any moment `path` is either what it was or complete.  Throws DataError.
void write_states(const std::string& path, const Service::States& states);

/// Throws DataError for a file that is damaged or no such file.
Service::States read_states(const std::string& path);

}  // namespace refrain::serve
