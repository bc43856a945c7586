// Lists the processes under a kept /proc root and the threads under a kept task/ directory.
#pragma once

#include <vector>

#include "base/result.h"

namespace lezea {

// Every decimal entry of the directory, ascending.
// Reads from the start each time; the descriptor's position is the caller's to lose.
Result<std::vector<int>> list_numeric_entries(int directory_fd);

// Process ids (thread group leaders) under a /proc root.
Result<std::vector<int>> list_pids(int proc_root_fd);

}  // namespace lezea
