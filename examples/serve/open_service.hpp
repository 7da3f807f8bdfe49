#pragma once
/// Opens the models of the example programs as services.

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "refrain/serve/service.hpp"
#include "refrain/train/checkpoint.hpp"

namespace refrain::serve {

/// Options of a service.
struct ServiceOptions {
  std::string model;                 ///< base of PeterRec, or a CmnRec model
  std::vector<std::string> patches;  ///< patch files of PeterRec
  /// by default the length in the task's training
  std::optional<std::int64_t> padding_steps;
  std::size_t shards = 1;
  /// by default all users and all of their items
  ServiceMemory memory{.users = std::numeric_limits<std::size_t>::max(), .history = 0};
};

/// Serves a file written by peterrec pretrain or cmnrec train; the file determines the model.
/// Throws Error.
std::unique_ptr<Service> open_service(const ServiceOptions& options);
/// open_service() for a file that has already been read.
std::unique_ptr<Service> open_peterrec(const ServiceOptions& options, Checkpoint base);
std::unique_ptr<Service> open_cmnrec(const ServiceOptions& options, Checkpoint base);

}  // namespace refrain::serve
