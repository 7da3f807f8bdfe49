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

/// What one file holds.  Dtypes F32, F64, I32, I64.
struct SafetensorsFile {
  TensorMap tensors;
  Metadata metadata;
};

/// The format's own limit of what names, shapes and texts take together, as JSON.
inline constexpr std::uint64_t largest_safetensors_header_bytes = 100'000'000;

/// Reads a file onto the CPU.
///
/// Everything is checked before memory is taken for it: header length against the file's, JSON,
/// dtypes, shapes, that the tensors' bytes follow one another without gap or overlap to the end of
/// the file, names given twice. Throws DataError, with the reason, for anything else, for an
/// element type other than the four, and for rank over 6.
REFRAIN_API SafetensorsFile read_safetensors(const std::string& path);

/// Reads the metadata alone, with the same checks of header and file length.
REFRAIN_API Metadata read_safetensors_metadata(const std::string& path);

/// Writes a file so that at any moment `path` is either what it was or complete: into a temporary
/// file beside it, which is synced and then renamed; the folder is synced last. Equal contents give
/// equal bytes.
/// Throws DataError when anything fails (a full disk, a missing folder, text that is not UTF-8);
/// then the temporary file is gone and `path` is as before (or complete, when only syncing the
/// folder failed). A temporary file that a killed process left is removed by the next write to the
/// same path.
REFRAIN_API void write_safetensors(const std::string& path, const SafetensorsFile& file);

/// For those who work long before they write: throws what write_safetensors() would then throw
/// because of the path, a DataError of a folder that is missing or must not be written, or of a
/// `path` that is no file. Nothing is changed.
REFRAIN_API void expect_replaceable(const std::string& path);

}  // namespace refrain
