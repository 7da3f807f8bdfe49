#pragma once
/// The setting of a training run as texts of its checkpoint.

#include <string>

#include "refrain/train/trainer.hpp"

namespace refrain {

void add_setting(Metadata& texts, const RunSetting& setting);

/// Throws DataError, with the differences, when a checkpoint's texts hold another setting: what was
/// held out of that run may be in this one, and what it learned may fit another model.
void expect_same_setting(const std::string& path, const RunSetting& setting, const Metadata& texts);

}  // namespace refrain
