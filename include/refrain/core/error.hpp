#pragma once
/// Exceptions. Invalid input throws a type derived from Error before anything is computed or
/// written; the message names the operation, what it expected and what it got.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "refrain/core/detail/concat.hpp"
#include "refrain/core/export.hpp"

namespace refrain {

/// Base of all exceptions of Refrain except OutOfMemory.
class REFRAIN_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A tensor has the wrong rank or extent, or a size is out of range.
class REFRAIN_API ShapeError : public Error {
 public:
  using Error::Error;
};

/// A tensor has the wrong element type.
class REFRAIN_API DTypeError : public Error {
 public:
  using Error::Error;
};

/// Tensors are on different devices, or a device call failed.
class REFRAIN_API DeviceError : public Error {
 public:
  using Error::Error;
};

/// The operation exists, but not for this device, element type or size.
class REFRAIN_API Unsupported : public Error {
 public:
  using Error::Error;
};

/// The tape was used incorrectly: two backward passes over freed tensors, a root that is no scalar,
/// a gradient that was never computed.
class REFRAIN_API AutogradError : public Error {
 public:
  using Error::Error;
};

/// An option has a value outside its range, or two options contradict each other.
class REFRAIN_API OptionError : public Error {
 public:
  using Error::Error;
};

/// A file cannot be read, written or parsed. `line` counts from 1; 0 means the whole file.
class REFRAIN_API DataError : public Error {
 public:
  DataError(std::string file, std::int64_t line, const std::string& reason)
      : Error(line > 0 ? file + ":" + std::to_string(line) + ": " + reason : file + ": " + reason),
        file_(std::move(file)),
        line_(line) {}

  const std::string& file() const noexcept { return file_; }
  std::int64_t line() const noexcept { return line_; }

 private:
  std::string file_;
  std::int64_t line_;
};

/// Memory is exhausted, or a block would exceed the device's memory; nothing was allocated. The
/// text is part of the object, so that constructing it allocates nothing.
class REFRAIN_API OutOfMemory final : public std::bad_alloc {
 public:
  /// `where`: "cpu" or "cuda"; `used_bytes`: bytes in live blocks of the pool.
  OutOfMemory(const char* where, std::size_t bytes, std::size_t used_bytes) noexcept {
    std::snprintf(text_.data(), text_.size(),
                  "out of memory: Device::%s cannot give a block of %zu bytes (%zu are in use)",
                  where, bytes, used_bytes);
  }
  const char* what() const noexcept override { return text_.data(); }

 private:
  std::array<char, 128> text_;
};

}  // namespace refrain
