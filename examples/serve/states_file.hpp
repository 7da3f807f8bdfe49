#pragma once
/// States of all users in one file.

#include <string>

#include "serve/service.hpp"

namespace refrain::serve {

/// Throws DataError when write_states() could not write to `path`.
void expect_writable(const std::string& path);

/// A line of JSON, {"user": "u1", "bytes": 4711}, and so many bytes, for each user; a last line
/// {"users": 2}. At any moment, and after a power failure, `path` is either what it was or
/// complete. Throws DataError.
void write_states(const std::string& path, const Service& service);

/// Hands over the users one by one. Throws DataError for a file that is damaged or no such file,
/// perhaps after some of them.
void read_states(const std::string& path, const Service::TakeState& take);

}  // namespace refrain::serve
