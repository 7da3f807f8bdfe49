#pragma once
/// The setting of a training run, saved as texts of its checkpoint.

#include <string>

#include "refrain/train/trainer.hpp"

namespace refrain {

void add_setting(Metadata& texts, const RunSetting& setting);

/// Throws DataError with the differences when a checkpoint holds another setting. Sequences that
/// the saved run held out may be training data of this run, and its parameters may not fit the
/// model.
void expect_same_setting(const std::string& path, const RunSetting& setting, const Metadata& texts);

}  // namespace refrain
