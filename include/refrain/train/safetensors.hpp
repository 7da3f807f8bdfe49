#pragma once
/// The safetensors file format: u64 little-endian header length, JSON header, raw little-endian
/// data.

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "refrain/core/export.hpp"
#include "refrain/core/tensor.hpp"

namespace refrain {

/// Tensors by name, as checkpoints hold them.
using TensorMap = std::map<std::string, Tensor, std::less<>>;

/// Texts by name.
using Metadata = std::map<std::string, std::string, std::less<>>;

/// The contents of one file.  Dtypes F32, F64, I32, I64.
struct SafetensorsFile {
  TensorMap tensors;
  Metadata metadata;
};

/// The format's limit on its JSON header, which holds names, shapes and texts.
inline constexpr std::uint64_t max_safetensors_header_bytes = 100'000'000;

/// Reads a file onto the CPU.
///
/// Before memory is allocated for tensors, the header is checked: its length against the length of
/// the file, JSON, distinct names, dtypes, shapes, and that the bytes of the tensors follow one
/// another without gap or overlap to the end of the file. Throws DataError with the reason for a
/// file that fails a check, for another dtype than the four, and for a rank over 6.
REFRAIN_API SafetensorsFile read_safetensors(const std::string& path);

/// Reads only the metadata, with the same checks of header and file length.
REFRAIN_API Metadata read_safetensors_metadata(const std::string& path);

/// Replaces a file atomically: writes a temporary file in the same folder, syncs it, renames it to
/// `path` and syncs the folder, so that `path` is unchanged or complete at any moment. Equal
/// contents give equal bytes. Throws DataError when anything fails (a full disk, a missing folder,
/// text that is not UTF-8); the temporary file is then removed and `path` is unchanged, or complete
/// if only the sync of the folder failed. The next write to the same path removes the temporary
/// file of a killed process.
REFRAIN_API void write_safetensors(const std::string& path, const SafetensorsFile& file);

/// Checks a path before long work whose result it receives: throws the DataError that
/// write_safetensors() would throw for a folder that is missing or not writable, or for a `path`
/// that is not a regular file. Changes nothing.
REFRAIN_API void expect_replaceable(const std::string& path);

}  // namespace refrain
