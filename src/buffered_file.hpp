#pragma once
// Files written and read from the beginning to the end through a buffer.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "refrain/core/detail/xxh64.hpp"
#include "src/whole_file.hpp"

namespace refrain::detail {

/// A new file. All functions throw DataError with the file and the reason.
class BufferedWriter {
 public:
  /// Creates `path`, which must not exist.
  BufferedWriter(std::string path, std::size_t buffer_bytes);
  /// Creates a file without a name in `folder`, or in the folder of temporary files when `folder`
  /// cannot be written. The system removes it when its descriptor is closed.
  static BufferedWriter unnamed(const std::string& folder, std::size_t buffer_bytes);
  BufferedWriter(BufferedWriter&& other) noexcept;
  BufferedWriter& operator=(BufferedWriter&&) = delete;
  ~BufferedWriter();

  void write(const void* from, std::size_t count);
  template <class Value>
  void put(const Value& value) {
    write(&value, sizeof value);
  }
  /// Writes the buffer to the file.
  void flush();
  /// flush(), and syncs the file to disk.
  void sync();
  /// flush(), and gives the descriptor to the caller.
  int release();

  const std::string& path() const noexcept { return path_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  /// XXH64 of the bytes that have been flushed.
  std::uint64_t hash() const noexcept { return hash_.digest(); }

 private:
  BufferedWriter(std::string path, int descriptor, std::size_t buffer_bytes);

  std::string path_;
  int descriptor_;
  std::vector<char> buffer_;
  std::size_t used_ = 0;
  std::uint64_t bytes_ = 0;
  Xxh64 hash_;
};

/// A file read from its beginning. Throws DataError when it ends within a value.
class BufferedReader {
 public:
  BufferedReader(const std::string& path, std::size_t buffer_bytes)
      : file_(std::make_unique<InputFile>(path)), buffer_(buffer_bytes), left_(file_->size()) {}

  void read(void* to, std::size_t count);
  template <class Value>
  Value get() {
    Value value;
    read(&value, sizeof value);
    return value;
  }
  bool at_end() const noexcept { return begin_ == end_ && left_ == 0; }
  /// Bytes not yet read.
  std::uint64_t left() const noexcept { return left_ + (end_ - begin_); }
  std::uint64_t size() const noexcept { return file_->size(); }
  /// XXH64 of the bytes that have been read from the file into the buffer.
  std::uint64_t hash() const noexcept { return hash_.digest(); }

 private:
  std::unique_ptr<InputFile> file_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t left_;
  Xxh64 hash_;
};

/// Removes a temporary file. One that cannot be removed goes with its folder.
void remove_file(const std::string& path) noexcept;

}  // namespace refrain::detail
