#pragma once
/// Exceptions. Every mistake a caller can make is one of the types that derive from Error, thrown
/// before anything is computed or written, and says which operation refused, what it expected and
/// what came.

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

/// Base of everything that Refrain throws on purpose.
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

/// Tensors live on different devices, or a device call failed.
class REFRAIN_API DeviceError : public Error {
 public:
  using Error::Error;
};

/// The operation exists, but not for this device, element type or size.
class REFRAIN_API Unsupported : public Error {
 public:
  using Error::Error;
};

/// The tape was used against its rules: backward twice, a root that is no scalar, a gradient that
/// was never computed.
class REFRAIN_API AutogradError : public Error {
 public:
  using Error::Error;
};

/// An option has a value outside its range, or two options contradict each other.
class REFRAIN_API OptionError : public Error {
 public:
  using Error::Error;
};

/// A file cannot be read, written or understood. `line` counts from 1; 0 means the file as a whole.
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

/// Memory is exhausted, or a block would be larger than all memory there is; nothing was taken. The
/// text lives in the object: making it needs no memory.
class REFRAIN_API OutOfMemory final : public std::bad_alloc {
 public:
  /// `where`: "cpu", "cuda"; `used_bytes`: what the pool has given out.
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
