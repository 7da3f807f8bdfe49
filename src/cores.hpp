#pragma once
// The cores on which a process may run.

#include <vector>

namespace refrain {

/// The numbers of the cores on which this thread may run, in ascending order: all cores of the
/// machine, or those to which a launcher, taskset or a container binds it. Without support of the
/// system, the numbers from 0 to the number of cores.
std::vector<int> usable_cores();

}  // namespace refrain
