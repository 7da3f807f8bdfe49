#include "support/source_dir.hpp"

std::string refrain::test::source_dir() { return REFRAIN_SOURCE_DIR; }
